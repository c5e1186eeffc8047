//! Checking a value against its field, and a document against its schema.

use serde_json::Value;

use super::{Field, Fields, Schema, Type, Validator};
use crate::domain::canonical::{Document, encode_value};
use crate::domain::rejection::FieldErrors;

/// What to do with a field that the schema does not have and whose value is null.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum UnknownNull {
    /// An error, as in the Admin API.
    Refuse,
    /// Nothing, as on a data plane.
    Ignore,
}

/// Checks a whole document.
pub(super) fn validate(
    schema: &Schema,
    document: &Document,
    unknown: UnknownNull,
) -> Result<(), FieldErrors> {
    let mut errors = record(&schema.fields, document, unknown);
    for check in &schema.checks {
        check.run(document, &mut errors);
    }
    for custom in &schema.custom {
        errors.extend(custom(document));
    }
    errors.into_result()
}

fn record(fields: &Fields, document: &Document, unknown: UnknownNull) -> FieldErrors {
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
    errors
}

/// Returns what is wrong with a value: a text, or a tree of texts for lists and records.
pub(super) fn value(field: &Field, value: &Value) -> Option<Value> {
    value_with(field, value, UnknownNull::Refuse)
}

/// Returns what is wrong with a value, as [`value`], treating unknown nulls as told.
pub fn value_with(field: &Field, value: &Value, unknown: UnknownNull) -> Option<Value> {
    if value.is_null() {
        let eq_null = field.validators.iter().any(|v| matches!(v, Validator::Eq(Value::Null)));
        return (field.required && !eq_null).then(|| "required field missing".into());
    }
    type_error(field, value, unknown)
        .or_else(|| field.validators.iter().find_map(|rule| rule_error(rule, value)))
}

fn type_error(field: &Field, value: &Value, unknown: UnknownNull) -> Option<Value> {
    let expected = |text: &str| Some(Value::from(format!("expected {text}")));
    match (&field.ty, value) {
        (Type::String, Value::String(text)) => {
            let bounded = field.validators.iter().any(|v| matches!(v, Validator::LenMin(_)));
            (text.is_empty() && !bounded).then(|| "length must be at least 1".into())
        }
        (Type::String, _) => expected("a string"),
        (Type::Integer, Value::Number(n)) if n.as_f64().is_some_and(|f| f.fract() == 0.0) => None,
        (Type::Integer, _) => expected("an integer"),
        (Type::Number, Value::Number(_)) | (Type::Boolean, Value::Bool(_)) => None,
        (Type::Number, _) => expected("a number"),
        (Type::Boolean, _) => expected("a boolean"),
        (Type::Array(element) | Type::Set(element), Value::Array(items)) => {
            list(items.iter().map(|item| value_with(element, item, unknown)))
        }
        (Type::Array(_), _) => expected("an array"),
        (Type::Set(_), _) => expected("a set"),
        (Type::Map(keys, values), Value::Object(object)) => map(keys, values, object, unknown),
        (Type::Map(..), _) => expected("a map"),
        (Type::Record(fields), Value::Object(object)) => {
            record(fields, object, unknown).into_value()
        }
        (Type::Record(_), _) => expected("a record"),
        (Type::Foreign { .. }, value) => foreign(value),
        (Type::Abstract, _) => None,
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

/// Returns whether a text is a UUID as Kong reads them: hyphenated, any case, any version.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// The errors of a list: null for good items, as long as the last bad index.
fn list(errors: impl Iterator<Item = Option<Value>>) -> Option<Value> {
    let mut errors: Vec<Value> = errors.map(|error| error.unwrap_or(Value::Null)).collect();
    let length = errors.iter().rposition(|error| !error.is_null())? + 1;
    errors.truncate(length);
    Some(Value::Array(errors))
}

fn map(keys: &Field, values: &Field, object: &Document, unknown: UnknownNull) -> Option<Value> {
    let mut errors = FieldErrors::default();
    for (name, value) in object {
        let error = value_with(keys, &Value::from(name.as_str()), unknown)
            .or_else(|| value_with(values, value, unknown));
        if let Some(error) = error {
            errors.insert(name, error);
        }
    }
    errors.into_value()
}

fn rule_error(rule: &Validator, value: &Value) -> Option<Value> {
    let text = match rule {
        Validator::Eq(wanted) if value != wanted => {
            format!("value must be {}", encode_value(wanted))
        }
        Validator::OneOf(allowed) if !allowed.contains(value) => {
            let allowed: Vec<_> = allowed.iter().map(plain).collect();
            format!("expected one of: {}", allowed.join(", "))
        }
        Validator::Gt(bound) if value.as_f64().is_some_and(|number| number <= *bound) => {
            format!("value must be greater than {bound}")
        }
        Validator::Between(low, high) => {
            let inside = value.as_f64().is_some_and(|n| n >= *low as f64 && n <= *high as f64);
            if inside {
                return None;
            }
            format!("value should be between {low} and {high}")
        }
        Validator::LenMin(length) if length_of(value) < *length => {
            format!("length must be at least {length}")
        }
        Validator::LenMax(length) if length_of(value) > *length => {
            format!("length must be at most {length}")
        }
        Validator::StartsWith(head) if !value.as_str().is_some_and(|t| t.starts_with(head)) => {
            format!("should start with: {head}")
        }
        Validator::Custom(rule) => return rule(value).err().map(Value::from),
        Validator::ExclusiveSubsets(groups) => return exclusive(groups, value),
        _ => return None,
    };
    Some(text.into())
}

fn exclusive(groups: &[&[&str]], value: &Value) -> Option<Value> {
    let items = value.as_array()?;
    let present = |group: &&&[&str]| {
        group.iter().any(|name| items.iter().any(|item| item.as_str() == Some(name)))
    };
    if groups.iter().filter(present).count() < 2 {
        return None;
    }
    let quote = |group: &&[&str]| {
        let names: Vec<_> = group.iter().map(|name| format!("'{name}'")).collect();
        format!("({})", names.join(", "))
    };
    let groups: Vec<_> = groups.iter().map(quote).collect();
    Some(format!("these sets are mutually exclusive: {}", groups.join(", ")).into())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| encode_value(value), str::to_owned)
}

fn length_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(object) => object.len(),
        _ => 0,
    }
}
