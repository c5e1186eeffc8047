//! One comparison of an expression.

use std::net::IpAddr;

use regex::Regex;

use super::field::Field;
use super::{Subject, Trace};
use crate::router::header::lowered;
use crate::router::net::Network;

/// A field compared with a value. A field that a request does not have fulfils nothing, not even `!=`.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) field: Field,
    /// Whether its text is lowered first.
    pub(super) lower: bool,
    /// Whether one of its values is enough; else all must fulfil the test.
    pub(super) any: bool,
    pub(super) operator: Operator,
}

#[derive(Debug)]
pub(super) enum Operator {
    Text(Box<str>),
    NotText(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    Pattern(Regex),
    Number(i64),
    NotNumber(i64),
    Greater(i64),
    GreaterOrEqual(i64),
    Less(i64),
    LessOrEqual(i64),
    Address(IpAddr),
    NotAddress(IpAddr),
    In(Network),
    NotIn(Network),
}

impl Test {
    /// Returns whether it is fulfilled.
    pub(super) fn holds<'r>(&'r self, subject: &Subject<'_, '_>, trace: &mut Trace<'r>) -> bool {
        use Operator as Is;
        let number = |holds: &dyn Fn(i64) -> bool| self.field.number(subject).is_some_and(holds);
        let address =
            |holds: &dyn Fn(IpAddr) -> bool| self.field.address(subject).is_some_and(holds);
        match &self.operator {
            Is::Number(wanted) => number(&|it| it == *wanted),
            Is::NotNumber(wanted) => number(&|it| it != *wanted),
            Is::Greater(bound) => number(&|it| it > *bound),
            Is::GreaterOrEqual(bound) => number(&|it| it >= *bound),
            Is::Less(bound) => number(&|it| it < *bound),
            Is::LessOrEqual(bound) => number(&|it| it <= *bound),
            Is::Address(wanted) => address(&|it| it == *wanted),
            Is::NotAddress(wanted) => address(&|it| it != *wanted),
            Is::In(range) => address(&|it| range.contains(it)),
            Is::NotIn(range) => address(&|it| !range.contains(it)),
            _ => self.texts_hold(subject, trace),
        }
    }

    fn texts_hold<'r>(&'r self, subject: &Subject<'_, '_>, trace: &mut Trace<'r>) -> bool {
        let (mut some, mut all, mut one) = (false, true, false);
        self.field.texts(subject, &mut |text| {
            // The first that decides ends it.
            if !all && !self.any || one && self.any {
                return;
            }
            some = true;
            let holds = match self.lower {
                true => self.text_holds(&lowered(text), trace),
                false => self.text_holds(text, trace),
            };
            all &= holds;
            one |= holds;
        });
        if self.any { one } else { some && all }
    }

    fn text_holds<'r>(&'r self, text: &str, trace: &mut Trace<'r>) -> bool {
        use Operator as Is;
        let of_path = self.field == Field::Path;
        let (holds, matched) = match &self.operator {
            Is::Text(wanted) => (text == &**wanted, wanted.len()),
            Is::Prefix(prefix) => (text.starts_with(&**prefix), prefix.len()),
            Is::Pattern(pattern) => match pattern.find(text) {
                Some(found) => {
                    if of_path {
                        trace.pattern = Some(pattern);
                    }
                    (true, found.len())
                }
                None => (false, 0),
            },
            Is::Suffix(suffix) => (text.ends_with(&**suffix), suffix.len()),
            Is::NotText(wanted) => return text != &**wanted,
            Is::Contains(part) => return text.contains(&**part),
            _ => return false,
        };
        if holds && of_path {
            trace.path_len = matched;
        }
        holds
    }
}
