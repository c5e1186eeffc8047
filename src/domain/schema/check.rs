//! Checks: rules over several fields of one document.

use serde_json::Value;

use super::validate;
use super::{Field, Validator};
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;

/// What a conditional asks of a field.
#[derive(Clone)]
pub enum Match {
    /// The field is one of these.
    OneOf(&'static [&'static str]),
    /// The field is none of these.
    NotOneOf(&'static [&'static str]),
    /// The field is null.
    Null,
    /// The field is not null.
    Required,
    /// The field keeps this rule.
    Rule(Validator),
}

/// A rule over several fields; names may be dotted. Texts as reference gateway-1, section A.1.
#[derive(Clone)]
pub enum Check {
    /// One or more must be set.
    AtLeastOneOf(&'static [&'static str]),
    /// Exactly one must be set.
    OnlyOneOf(&'static [&'static str]),
    /// The values that are set must differ.
    Distinct(&'static [&'static str]),
    /// All or none must be set.
    MutuallyRequired(&'static [&'static str]),
    /// At most one may be set.
    MutuallyExclusive(&'static [&'static str]),
    /// If one field matches, another must.
    Conditional {
        /// The field looked at.
        if_field: &'static str,
        /// What makes the rule apply.
        if_match: Match,
        /// The field ruled.
        then_field: &'static str,
        /// What it must be.
        then_match: Match,
    },
}

impl Check {
    /// Adds what the document does wrong to `errors`; skips a check whose fields are in error.
    pub(super) fn run(&self, document: &Document, errors: &mut FieldErrors) {
        match self {
            Self::AtLeastOneOf(names) => {
                if !names.iter().any(|name| !is_empty(document, name)) {
                    let text = "at least one of these fields must be non-empty: ";
                    errors.entity(format!("{text}{}", quoted(names)));
                }
            }
            Self::OnlyOneOf(names) => {
                if names.iter().filter(|name| !is_empty(document, name)).count() != 1 {
                    let text = "exactly one of these fields must be non-empty: ";
                    errors.entity(format!("{text}{}", quoted(names)));
                }
            }
            Self::Distinct(names) => distinct(names, document, errors),
            Self::MutuallyRequired(names) => {
                let set = names.iter().filter(|name| !is_empty(document, name)).count();
                if set != 0 && set != names.len() {
                    let text = "all or none of these fields must be set: ";
                    errors.entity(format!("{text}{}", quoted(names)));
                }
            }
            Self::MutuallyExclusive(names) => {
                if names.iter().filter(|name| !is_empty(document, name)).count() > 1 {
                    let text = "only one or none of these fields must be set: ";
                    errors.entity(format!("{text}{}", quoted(names)));
                }
            }
            Self::Conditional { if_field, if_match, then_field, then_match } => {
                if errors.has(if_field) || errors.has(then_field) {
                    return;
                }
                if if_match.error(lookup(document, if_field)).is_some() {
                    return;
                }
                if let Some(error) = then_match.error(lookup(document, then_field)) {
                    errors.insert_path(then_field, error);
                    let text = "failed conditional validation given value of field";
                    errors.entity(format!("{text} '{if_field}'"));
                }
            }
        }
    }
}

impl Match {
    /// Returns what is wrong with `value`, if anything.
    fn error(&self, value: &Value) -> Option<Value> {
        match self {
            Self::OneOf(allowed) => {
                let found = value.as_str().is_some_and(|text| allowed.contains(&text));
                (!found).then(|| format!("expected one of: {}", allowed.join(", ")).into())
            }
            Self::NotOneOf(refused) => {
                let found = value.as_str().is_some_and(|text| refused.contains(&text));
                found.then(|| format!("must not be one of: {}", refused.join(", ")).into())
            }
            Self::Null => (!value.is_null()).then(|| "value must be null".into()),
            Self::Required => value.is_null().then(|| "required field missing".into()),
            Self::Rule(rule) => {
                if value.is_null() {
                    return None;
                }
                validate::value(&Field::abstract_record().rule(rule.clone()), value)
            }
        }
    }
}

fn distinct(names: &[&str], document: &Document, errors: &mut FieldErrors) {
    let values: Vec<_> = names.iter().map(|n| lookup(document, n)).collect();
    let equal = values.iter().enumerate().any(|(i, value)| {
        !value.is_null() && values.iter().skip(i + 1).any(|other| other == value)
    });
    if equal {
        errors.entity(format!("values of these fields must be distinct: {}", quoted(names)));
    }
}

/// Returns the value at a dotted name; null when absent.
pub(super) fn lookup<'a>(document: &'a Document, name: &str) -> &'a Value {
    let mut parts = name.split('.');
    let first = parts.next().and_then(|part| document.get(part));
    parts.fold(first, |value, part| value.and_then(|v| v.get(part))).unwrap_or(&Value::Null)
}

fn is_empty(document: &Document, name: &str) -> bool {
    match lookup(document, name) {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
