//! Rows for tests: every field of a schema, with every sort of value.

use serde_json::{Map, Value, json};

use crate::domain::schema::{Field, Fields, Mark, Type, Validator};

/// Returns a record with nothing set but what sets itself.
fn unset(fields: &Fields) -> Map<String, Value> {
    let value = |field: &Field| match (&field.default, &field.ty) {
        (Some(Value::Object(_)) | None, Type::Record(fields)) if field.required => {
            unset(fields).into()
        }
        (Some(default), _) => default.clone(),
        (None, _) => Value::Null,
    };
    let kept = fields.iter().filter(|(_, field)| !field.is(Mark::Transient));
    kept.map(|(name, field)| (name.to_owned(), value(field))).collect()
}

/// Returns a record for each value of each field.
pub(super) fn records(fields: &Fields) -> Vec<Map<String, Value>> {
    let unset = unset(fields);
    let kept = fields.iter().filter(|(name, _)| unset.contains_key(*name));
    let each = kept.flat_map(|(name, field)| {
        values(field).into_iter().map(|value| {
            let mut record = unset.clone();
            record.insert(name.to_owned(), value);
            record
        })
    });
    std::iter::once(unset.clone()).chain(each).collect()
}

/// Returns values of every sort that a field may have.
fn values(field: &Field) -> Vec<Value> {
    let listed = |element: &Field| values(element).into_iter().map(|it| json!([it])).collect();
    let one_of = field.validators.iter().find_map(|validator| match validator {
        Validator::OneOf(values) => Some(values.clone()),
        _ => None,
    });
    match (&field.ty, one_of) {
        (_, Some(values)) => values,
        (Type::String, _) => vec!["/x".into()],
        (Type::Integer | Type::Number, _) => vec![7.into()],
        (Type::Boolean, _) => vec![true.into(), false.into()],
        (Type::Array(element) | Type::Set(element), _) => listed(element),
        (Type::Map(_, element), _) => {
            values(element).into_iter().map(|it| json!({"x": it})).collect()
        }
        (Type::Record(fields), _) => records(fields).into_iter().map(Value::from).collect(),
        (Type::Foreign { .. } | Type::Abstract | Type::Json(_), _) => Vec::new(),
    }
}
