//! Shorthands: fields of a record that are accepted as input and become other fields, mostly old
//! names for new ones (reference gateway-1, section A.1).

use serde_json::{Map, Value};

use super::check::lookup;
use super::validate;
use super::validator::{plain, same};
use super::{Field, Fields, Type};
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;

/// Why a field should not be used any more.
#[derive(Clone)]
pub struct Deprecation {
    /// What to do instead, for people.
    pub message: String,
    /// Up to which value nothing is said.
    pub old_default: Option<Value>,
    /// Where the value goes. A shorthand with such a place is shown on every read.
    pub replaced_with: Vec<&'static [&'static str]>,
}

impl Deprecation {
    /// The version of Kong in which deprecated fields go.
    pub const REMOVAL: &'static str = "4.0";

    /// Starts a deprecation.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), old_default: None, replaced_with: Vec::new() }
    }

    /// Sets the value that was the default.
    pub fn old_default(mut self, value: impl Into<Value>) -> Self {
        self.old_default = Some(value.into());
        self
    }

    /// Names the field that took the value over.
    pub fn replaced_with(mut self, path: &'static [&'static str]) -> Self {
        self.replaced_with.push(path);
        self
    }
}

/// How a shorthand becomes other fields.
#[derive(Clone, Copy)]
pub enum Expand {
    /// The value goes here.
    To(&'static [&'static str]),
    /// Code says which fields the value stands for.
    With(fn(&Value) -> Document),
}

/// An input-only field of a record.
#[derive(Clone)]
pub struct Shorthand {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub field: Field,
    /// What becomes of it.
    pub expand: Expand,
}

impl Shorthand {
    /// Makes a shorthand whose value goes to `path`.
    pub fn to(name: &'static str, field: Field, path: &'static [&'static str]) -> Self {
        Self { name, field, expand: Expand::To(path) }
    }

    /// Makes a shorthand that code expands.
    pub fn with(name: &'static str, field: Field, expand: fn(&Value) -> Document) -> Self {
        Self { name, field, expand: Expand::With(expand) }
    }

    /// Makes an old name of the field at `path`: it loses against the new name, must agree with
    /// it, and is shown on reads.
    pub fn renamed(
        name: &'static str,
        field: Field,
        path: &'static [&'static str],
        message: impl Into<String>,
    ) -> Self {
        let deprecation = Deprecation::new(message).replaced_with(path);
        Self::to(name, field.deprecated(deprecation), path)
    }

    /// Returns whether reads show the shorthand, with the value of the field it stands for.
    pub fn is_shown(&self) -> bool {
        !self.replaced_with().is_empty()
    }

    fn replaced_with(&self) -> &[&'static [&'static str]] {
        self.field.deprecation.as_ref().map_or(&[], |deprecation| &deprecation.replaced_with)
    }

    /// Returns the fields that a value stands for.
    fn values(&self, value: &Value) -> Document {
        let path = match self.expand {
            Expand::With(expand) => return expand(value),
            Expand::To(path) => path,
        };
        let Some((first, inner)) = path.split_first() else { return Map::new() };
        let wrap =
            |value, name: &&str| Value::Object(Map::from_iter([((*name).to_owned(), value)]));
        let value = inner.iter().rev().fold(value.clone(), wrap);
        Map::from_iter([((*first).to_owned(), value)])
    }
}

/// Expands the shorthands of a record and of all records below it.
///
/// # Errors
///
/// Values that a shorthand does not hold, or that contradict the field they stand for. As in
/// Kong, the errors are named from the record that has the shorthand.
pub fn expand(field: &Field, value: &mut Value) -> Result<(), FieldErrors> {
    match (&field.ty, value) {
        (Type::Record(fields), Value::Object(object)) => {
            expand_here(&field.shorthands, object)?;
            expand_fields(fields, object)
        }
        (Type::Array(element) | Type::Set(element), Value::Array(items)) => {
            items.iter_mut().try_for_each(|item| expand(element, item))
        }
        (Type::Map(_, values), Value::Object(object)) => {
            object.values_mut().try_for_each(|value| expand(values, value))
        }
        _ => Ok(()),
    }
}

/// Expands the shorthands in the records of a document.
pub fn expand_fields(fields: &Fields, document: &mut Document) -> Result<(), FieldErrors> {
    for (name, field) in fields.iter() {
        if let Some(value) = document.get_mut(name) {
            expand(field, value)?;
        }
    }
    Ok(())
}

fn expand_here(shorthands: &[Shorthand], document: &mut Document) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::default();
    for shorthand in shorthands {
        let Some(value) = document.get(shorthand.name).cloned() else { continue };
        let error = validate::value(&shorthand.field, &value)
            .or_else(|| mismatch(shorthand, document, &value).map(Value::from));
        if let Some(error) = error {
            errors.insert(shorthand.name, error);
            continue;
        }
        document.remove(shorthand.name);
        for (name, value) in shorthand.values(&value) {
            // An old name yields to the new one; a mere convenience wins.
            settle(document, name, value, shorthand.field.deprecation.is_some());
        }
    }
    errors.into_result()
}

fn settle(document: &mut Document, name: String, value: Value, yields: bool) {
    match (document.get_mut(&name), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (name, value) in new {
                settle(old, name, value, yields);
            }
        }
        (Some(old), _) if yields && !old.is_null() => {}
        (_, value) => drop(document.insert(name, value)),
    }
}

/// Returns how an old name contradicts the new one, if it does.
fn mismatch(shorthand: &Shorthand, document: &Document, value: &Value) -> Option<String> {
    shorthand.replaced_with().iter().find_map(|path| {
        let path = path.join(".");
        let new = lookup(document, &path).filter(|new| !new.is_null())?;
        let differs = !value.is_null() && !same(new, value);
        differs.then(|| {
            format!(
                "both deprecated and new field are used but their values mismatch: {} = {} vs \
                 {path} = {}",
                shorthand.name,
                plain(value),
                plain(new)
            )
        })
    })
}

/// Adds the old names that a read shows, with the values of the new ones.
pub(super) fn show(shorthands: &[Shorthand], document: &mut Document) {
    for shorthand in shorthands {
        if let Some(path) = shorthand.replaced_with().first() {
            let value = lookup(document, &path.join(".")).cloned().unwrap_or(Value::Null);
            document.insert(shorthand.name.to_owned(), value);
        }
    }
}
