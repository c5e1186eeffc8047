//! What a route asks of one header.

use std::borrow::Cow;

use regex::Regex;

use super::RequestView;
use super::pattern;
use crate::domain::kinds::route::Flavour;

/// The values of one header of which one must be there.
pub(super) struct HeaderRule {
    /// In lower case.
    name: Box<str>,
    values: Vec<Wanted>,
}

/// Compared with values in lower case.
enum Wanted {
    Text(Box<str>),
    Pattern(Regex),
}

impl HeaderRule {
    /// Reads it off a route; a value that begins with `~*` is a pattern, in `traditional` only if it
    /// is the only one.
    pub(super) fn new(flavour: Flavour, name: &str, values: &[String]) -> Result<Self, String> {
        let traditional = flavour == Flavour::Traditional;
        let wanted = |value: &String| {
            let source = value.strip_prefix("~*").filter(|_| !traditional || values.len() == 1);
            match source {
                // The expression flavours lower a pattern as if it were text.
                Some(source) if traditional => pattern::compile(source).map(Wanted::Pattern),
                Some(source) => pattern::compile(&source.to_lowercase()).map(Wanted::Pattern),
                None => Ok(Wanted::Text(value.to_lowercase().into())),
            }
        };
        let values = values.iter().map(wanted).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_ascii_lowercase().into(), values })
    }

    /// Returns whether a request has one of the values.
    pub(super) fn admits(&self, request: &RequestView<'_>) -> bool {
        let mut found = false;
        (request.headers)(&self.name, &mut |value| {
            if !found {
                let value = lowered(value);
                found = self.values.iter().any(|wanted| match wanted {
                    Wanted::Text(text) => **text == *value,
                    Wanted::Pattern(pattern) => pattern.is_match(&value),
                });
            }
        });
        found
    }
}

/// Returns a text in lower case.
pub(super) fn lowered(text: &str) -> Cow<'_, str> {
    let is_lower = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    match text.bytes().all(is_lower) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.to_lowercase()),
    }
}
