//! Checking a value against its field, and a document against its schema.

use serde_json::Value;

use super::validator::{is_uuid, plain};
use super::{Check, Field, Fields, Mark, Match, Type, Validator};
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;

/// What to do with a field that the schema does not have and whose value is null.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum UnknownNull {
    /// An error, as in the Admin API.
    Refuse,
    /// Nothing, as on a data plane.
    Ignore,
}

/// Checks a whole document or record: every field, then the checks in their order.
pub(super) fn document<'c>(
    fields: &Fields,
    checks: impl IntoIterator<Item = &'c Check>,
    document: &Document,
    unknown: UnknownNull,
) -> FieldErrors {
    let mut errors = FieldErrors::default();
    for (name, field) in fields.iter() {
        let value = document.get(name).unwrap_or(&Value::Null);
        if let Some(error) = value_with(field, value, unknown) {
            errors.insert(name, error);
        }
    }
    for (name, value) in document {
        let ignored = value.is_null() && unknown == UnknownNull::Ignore;
        if fields.find(name).is_none() && !ignored {
            errors.insert(name, "unknown field".into());
        }
    }
    for check in checks {
        check.run(fields, document, &mut errors);
    }
    errors
}

/// Returns what is wrong with a value: a text, or a tree of texts for lists and records.
pub(super) fn value(field: &Field, value: &Value) -> Option<Value> {
    error(field, None, value, UnknownNull::Refuse)
}

/// Returns what is wrong with a value, as [`value`], treating unknown nulls as told.
pub fn value_with(field: &Field, value: &Value, unknown: UnknownNull) -> Option<Value> {
    error(field, None, value, unknown)
}

/// Returns what is wrong with a value under a field that a condition is laid over.
pub(super) fn value_under(field: &Field, over: Option<&Match>, value: &Value) -> Option<Value> {
    error(field, over, value, UnknownNull::Refuse)
}

fn error(
    field: &Field,
    over: Option<&Match>,
    value: &Value,
    unknown: UnknownNull,
) -> Option<Value> {
    let own = field.validators.iter();
    let rules: Vec<&Validator> = match over {
        None => return error_by(field, None, own, value, unknown),
        Some(over) => {
            let is_replaced =
                |rule: &&Validator| over.rules.iter().any(|other| other.rank() == rule.rank());
            let mut rules: Vec<_> = own.filter(|rule| !is_replaced(rule)).collect();
            rules.extend(&over.rules);
            rules.sort_by_key(|rule| rule.rank());
            rules
        }
    };
    error_by(field, over, rules.into_iter(), value, unknown)
}

fn error_by<'r>(
    field: &Field,
    over: Option<&Match>,
    rules: impl Iterator<Item = &'r Validator> + Clone,
    value: &Value,
    unknown: UnknownNull,
) -> Option<Value> {
    let said = |text: String| Some(Value::from(field.err.map_or(text, str::to_owned)));
    if value.is_null() {
        for rule in rules {
            match rule {
                Validator::Ne(Value::Null) => return said("value must not be null".to_owned()),
                Validator::Eq(Value::Null) => return None,
                Validator::Eq(wanted) => {
                    return Some(format!("value must be {}", plain(wanted)).into());
                }
                _ => {}
            }
        }
        let required = over.and_then(|over| over.required).unwrap_or(field.required);
        return required.then(|| "required field missing".into());
    }
    if rules.clone().any(|rule| matches!(rule, Validator::Eq(Value::Null))) {
        return said("value must be null".to_owned());
    }
    if let Some(error) = type_error(field, over, value, unknown) {
        return Some(error);
    }
    let text = value.as_str().filter(|_| matches!(field.ty, Type::String));
    if field.is(Mark::Referenceable) && text.is_some_and(is_reference) {
        return None;
    }
    let bounded = rules.clone().any(|rule| matches!(rule, Validator::LenMin(_)));
    let is_empty = !bounded && text.is_some_and(str::is_empty);
    for rule in rules {
        if is_empty && rule.rank() > Validator::LenMin(1).rank() {
            break;
        }
        if let Some(text) = rule.error(value) {
            return said(text);
        }
    }
    if is_empty { said("length must be at least 1".to_owned()) } else { None }
}

/// Returns whether a text refers to a secret in a vault.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

fn type_error(
    field: &Field,
    over: Option<&Match>,
    value: &Value,
    unknown: UnknownNull,
) -> Option<Value> {
    let expected = |text: &str| Some(Value::from(format!("expected {text}")));
    match (&field.ty, value) {
        (Type::String, Value::String(_))
        | (Type::Number, Value::Number(_))
        | (Type::Boolean, Value::Bool(_)) => None,
        (Type::String, _) => expected("a string"),
        (Type::Integer, Value::Number(n)) if n.as_f64().is_some_and(|f| f.fract() == 0.0) => None,
        (Type::Integer, _) => expected("an integer"),
        (Type::Number, _) => expected("a number"),
        (Type::Boolean, _) => expected("a boolean"),
        (Type::Array(element) | Type::Set(element), Value::Array(items)) => {
            let element = over.and_then(|over| over.elements.as_ref()).unwrap_or(element);
            list(items.iter().map(|item| value_with(element, item, unknown)))
        }
        (Type::Array(_), _) => expected("an array"),
        (Type::Set(_), _) => expected("a set"),
        (Type::Map(keys, values), Value::Object(object)) => map(keys, values, object, unknown),
        (Type::Map(..), _) => expected("a map"),
        (Type::Record(fields), Value::Object(object)) => {
            document(fields, &field.checks, object, unknown).into_value()
        }
        (Type::Record(_), _) => expected("a record"),
        (Type::Foreign { .. }, value) => foreign(value),
        (Type::Abstract, _) => None,
        (Type::Json(schema), value) => json_error(schema, value),
    }
}

/// A reference is `{"id": uuid}` once names have been resolved.
fn foreign(value: &Value) -> Option<Value> {
    let text = match value.get("id") {
        Some(Value::String(id)) if is_uuid(id) => return None,
        Some(Value::Null) => "required field missing",
        Some(Value::String(_)) => "expected a valid UUID",
        Some(_) => "expected a string",
        None => "missing primary key",
    };
    Some(serde_json::json!({"id": text}))
}

/// The errors of a list: null for good items, as long as the last bad index.
fn list(errors: impl Iterator<Item = Option<Value>>) -> Option<Value> {
    let mut errors: Vec<Value> = errors.map(|error| error.unwrap_or(Value::Null)).collect();
    let length = errors.iter().rposition(|error| !error.is_null())? + 1;
    errors.truncate(length);
    Some(Value::Array(errors))
}

/// The error of a map is that of its first bad member, without its name, as Kong has it.
fn map(keys: &Field, values: &Field, object: &Document, unknown: UnknownNull) -> Option<Value> {
    object.iter().find_map(|(name, value)| {
        value_with(keys, &Value::from(name.as_str()), unknown)
            .or_else(|| value_with(values, value, unknown))
    })
}

/// Checks the type that a JSON schema asks for when nothing else is installed.
fn json_error(schema: &Value, value: &Value) -> Option<Value> {
    let types: Vec<_> =
        schema.pointer("/default/type")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) | Value::Object(_) => "table",
    };
    let said = || {
        let types = types.join(", ");
        format!(
            "value failed JSON-schema validation: wrong type: expected one of {types}, got {is}"
        )
    };
    (!types.contains(&is)).then(|| said().into())
}
