//! Completing a body: defaults for what is absent, merging a patch, dropping what is null.

use serde_json::{Map, Value};

use super::{Field, Fields, Type};
use crate::domain::canonical::Document;

/// Removes duplicates from sets and fills what is absent with its default: at every depth, or with
/// `defaults` off only in the elements of lists. Explicit nulls stay null, as Kong has it.
pub fn complete(fields: &Fields, document: &mut Document, defaults: bool) {
    for (name, field) in fields.iter() {
        if defaults && !document.contains_key(name) {
            match (&field.default, &field.ty) {
                (Some(Value::Null), _) => continue,
                (Some(default), _) => drop(document.insert(name.to_owned(), default.clone())),
                (None, Type::Record(_)) if field.required => {
                    document.insert(name.to_owned(), Value::Object(Map::new()));
                }
                _ => continue,
            }
        }
        if let Some(value) = document.get_mut(name) {
            complete_value(field, value, defaults);
        }
    }
}

fn complete_value(field: &Field, value: &mut Value, defaults: bool) {
    match (&field.ty, value) {
        (Type::Record(fields), Value::Object(object)) => complete(fields, object, defaults),
        (Type::Array(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| complete_value(element, item, true));
        }
        (Type::Set(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| complete_value(element, item, true));
            let mut seen: Vec<Value> = Vec::with_capacity(items.len());
            items.retain(|item| {
                let fresh = !seen.contains(item);
                if fresh {
                    seen.push(item.clone());
                }
                fresh
            });
        }
        // What stands beside the id is ignored, as Kong has it; a data plane would not know it.
        (Type::Foreign { .. }, Value::Object(reference)) if reference.contains_key("id") => {
            reference.retain(|name, _| name == "id");
        }
        (Type::Map(_, values), Value::Object(object)) => {
            object.values_mut().for_each(|value| complete_value(values, value, true));
        }
        _ => {}
    }
}

/// Merges a PATCH into a document: records member by member, everything else replaced whole.
pub fn merge(fields: &Fields, document: &mut Document, patch: Document) {
    for (name, value) in patch {
        match (fields.find(&name).map(|field| &field.ty), document.get_mut(&name), value) {
            (Some(Type::Record(inner)), Some(Value::Object(old)), Value::Object(new)) => {
                merge(inner, old, new);
            }
            (Some(Type::Abstract), Some(Value::Object(old)), Value::Object(new)) => {
                merge_objects(old, new);
            }
            (_, _, value) => drop(document.insert(name, value)),
        }
    }
}

/// Merges a record whose fields are not at hand: objects member by member.
fn merge_objects(old: &mut Document, patch: Document) {
    for (name, value) in patch {
        match (old.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_objects(old, new),
            (_, value) => drop(old.insert(name, value)),
        }
    }
}

/// Drops null members at every depth of objects, the form in which documents are kept.
pub fn normalise(document: &mut Document) {
    document.retain(|_, value| !value.is_null());
    for value in document.values_mut() {
        normalise_value(value);
    }
}

fn normalise_value(value: &mut Value) {
    match value {
        Value::Object(object) => normalise(object),
        Value::Array(items) => items.iter_mut().for_each(normalise_value),
        _ => {}
    }
}
