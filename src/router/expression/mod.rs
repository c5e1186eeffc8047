//! Expressions: parsed and checked by the engine that Kong has, evaluated on a request without copying
//! it, and read for what the index can narrow a search down by
//! (language: reference gateway-3, section C.2).

mod field;
mod parse;
mod places;
mod test;

use regex::Regex;

use super::candidate::{Fit, Place};
use super::{NetView, RequestView};
use test::Test;

pub(super) use parse::check;

/// An expression, ready to be evaluated.
#[derive(Debug)]
pub(super) struct Expression {
    root: Node,
}

/// Chains of one operator are flat, so that no expression nests deeper than its parentheses.
#[derive(Debug)]
enum Node {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Test(Test),
}

/// What expressions are evaluated on.
struct Subject<'a, 'v> {
    net: &'a NetView<'v>,
    /// None for streams.
    request: Option<&'a RequestView<'v>>,
}

/// What tests of the path leave behind: how long what they compared with is, wherever it stands; a later one overwrites an earlier one, as with Kong also
/// where its branch failed.
#[derive(Default)]
struct Trace<'r> {
    path_len: usize,
    pattern: Option<&'r Regex>,
}

impl Expression {
    /// Parses an expression of a route for HTTP or for streams; the error says where it is wrong.
    pub(super) fn parse(text: &str, stream: bool) -> Result<Self, String> {
        parse::parse(text, stream).map(|root| Self { root })
    }

    /// Returns how a request fits.
    pub(super) fn fit<'r>(&'r self, request: &RequestView<'_>) -> Option<Fit<'r>> {
        let mut trace = Trace::default();
        let subject = Subject { net: &request.net, request: Some(request) };
        let fits = self.root.holds(&subject, &mut trace);
        fits.then_some(Fit { prefix_len: trace.path_len, pattern: trace.pattern })
    }

    /// Returns whether a stream fits.
    pub(super) fn fits_stream(&self, net: &NetView<'_>) -> bool {
        self.root.holds(&Subject { net, request: None }, &mut Trace::default())
    }

    /// Returns places of which a request that fits is found at one at least.
    pub(super) fn places(&self) -> Vec<Place> {
        places::of(&self.root)
    }
}

impl Node {
    fn holds<'r>(&'r self, subject: &Subject<'_, '_>, trace: &mut Trace<'r>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(subject, trace)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(subject, trace)),
            Self::Not(part) => !part.holds(subject, trace),
            Self::Test(test) => test.holds(subject, trace),
        }
    }
}

#[cfg(test)]
mod tests;
