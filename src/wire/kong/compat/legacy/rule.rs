//! Rules for one field, as tables of them are written.

use serde_json::Value;

use crate::domain::canonical::Document;
use crate::wire::kong::compat::downgrade::{record, remove_at};

/// A value that a table may hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plain {
    /// `false`.
    No,
    /// A whole number.
    Number(i64),
    /// A text.
    Text(&'static str),
    /// An empty list or record.
    Empty,
}

impl Plain {
    fn is(self, value: &Value) -> bool {
        match (self, value) {
            (Self::No, Value::Bool(value)) => !value,
            (Self::Number(number), value) => value.as_f64() == Some(number as f64),
            (Self::Text(text), Value::String(value)) => text == value,
            (Self::Empty, Value::Array(items)) => items.is_empty(),
            (Self::Empty, Value::Object(fields)) => fields.is_empty(),
            _ => false,
        }
    }
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// 2.8 does not know it and does the same without it, whatever it says.
    Gone,
    /// 2.8 does not know it and does the same without it if it says this; else nothing is sent.
    Only(Plain),
    /// 2.8 does not know it. If it says something else than this, that is told.
    Lost(Plain),
    /// 2.8 knows these texts alone; with another one nothing is sent.
    OneOf(&'static [&'static str]),
    /// 2.8 knows these texts alone; in place of another one it gets the first, which is told.
    Nearest(&'static [&'static str]),
}

/// What a rule did that is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Done {
    /// Nothing.
    Quietly,
    /// A value was left out.
    Left,
    /// Another value took its place.
    Replaced(&'static str),
}

impl Rule {
    /// Does the rule to the field at a dotted path.
    ///
    /// # Errors
    ///
    /// 2.8 cannot do the same; the text says why.
    pub(super) fn run(self, document: &mut Document, path: &str) -> Result<Done, String> {
        match self {
            Self::Gone => {
                remove_at(document, path);
                Ok(Done::Quietly)
            }
            Self::Only(plain) => match remove_at(document, path) {
                Some(value) if !value.is_null() && !plain.is(&value) => {
                    Err(format!("2.8 has no '{path}'"))
                }
                _ => Ok(Done::Quietly),
            },
            Self::Lost(plain) => match remove_at(document, path) {
                Some(value) if !value.is_null() && !plain.is(&value) => Ok(Done::Left),
                _ => Ok(Done::Quietly),
            },
            Self::OneOf(known) => match unknown_text(document, path, known) {
                Some(_) => Err(format!("2.8 does not know the value of '{path}'")),
                None => Ok(Done::Quietly),
            },
            Self::Nearest(known) => match (unknown_text(document, path, known), known) {
                (Some(slot), [first, ..]) => {
                    *slot = (*first).into();
                    Ok(Done::Replaced(first))
                }
                _ => Ok(Done::Quietly),
            },
        }
    }
}

/// Returns where a text stands that is none of the known ones.
fn unknown_text<'d>(
    document: &'d mut Document,
    path: &str,
    known: &[&str],
) -> Option<&'d mut Value> {
    let slot = match path.rsplit_once('.') {
        None => document.get_mut(path),
        Some((above, name)) => record(document, above)?.get_mut(name),
    }?;
    let is_unknown = slot.as_str().is_some_and(|text| !known.contains(&text));
    is_unknown.then_some(slot)
}
