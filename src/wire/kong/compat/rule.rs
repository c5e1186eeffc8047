//! Rules for one field that older data planes do not know, as tables of them are written.

use serde_json::Value;

use super::downgrade::{Says, record, remove_at};
use crate::domain::canonical::Document;

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
    /// They do not know it and do the same without it, whatever it says.
    Gone,
    /// They do not know it and do the same without it if it says this; else nothing is sent.
    Only(Plain),
    /// They do not know it. If it says something else than this, that is told.
    Lost(Plain),
    /// They know these texts alone; with another one nothing is sent.
    OneOf(&'static [&'static str]),
    /// They know these texts alone; in place of another one they get the first, which is told.
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

impl Done {
    /// Tells what was done to a field of a plugin's config.
    pub(super) fn tell(self, plugin: &str, field: &str, says: &mut Says<'_>) {
        match self {
            Self::Quietly => {}
            Self::Left => says.left_out(plugin, field),
            Self::Replaced(by) => {
                let hint = format!("configures {plugin} plugin with another {field}");
                says.gateway(&hint, &format!("fall back to '{by}'"));
            }
        }
    }
}

impl Rule {
    /// Does the rule to the field at a dotted path, for data planes of this version.
    ///
    /// # Errors
    ///
    /// They cannot do the same; the text says why.
    pub(super) fn run(
        self,
        document: &mut Document,
        path: &str,
        version: &str,
    ) -> Result<Done, String> {
        match self {
            Self::Gone => {
                remove_at(document, path);
                Ok(Done::Quietly)
            }
            Self::Only(plain) => match remove_at(document, path) {
                Some(value) if !value.is_null() && !plain.is(&value) => {
                    Err(format!("{version} has no '{path}'"))
                }
                _ => Ok(Done::Quietly),
            },
            Self::Lost(plain) => match remove_at(document, path) {
                Some(value) if !value.is_null() && !plain.is(&value) => Ok(Done::Left),
                _ => Ok(Done::Quietly),
            },
            Self::OneOf(known) => match unknown_text(document, path, known) {
                Some(_) => Err(format!("{version} does not know the value of '{path}'")),
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

/// What data planes before 3.4 can restrict by address.
const HTTP: &[&str] = &["http", "https", "grpc", "grpcs"];

/// Has an `ip-restriction` plugin restrict HTTP alone, as data planes before 3.4 do.
///
/// # Errors
///
/// It would let in whom it should not: there are streams, or it restricts nothing else.
pub(super) fn restrict_http(
    has_streams: bool,
    row: &mut Document,
    version: &str,
) -> Result<(), String> {
    let Some(Value::Array(protocols)) = row.get_mut("protocols") else { return Ok(()) };
    let before = protocols.len();
    protocols.retain(|protocol| protocol.as_str().is_some_and(|it| HTTP.contains(&it)));
    match protocols.len() < before && has_streams || protocols.is_empty() {
        true => Err(format!("{version} restricts no addresses below HTTP")),
        false => Ok(()),
    }
}
