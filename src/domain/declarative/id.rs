//! The ids of declared entities that name none: version 5, so that every load of a file gives the
//! same (reference hybrid.md, section 10, "missing id").

use serde_json::Value;
use uuid::Uuid;

use crate::domain::canonical::{Document, encode_value};
use crate::domain::config::reference;
use crate::domain::schema::{OnDelete, Schema};

/// What the namespaces of all kinds are derived from.
const NAMESPACE: Uuid = Uuid::from_u128(0xfd02801f_0957_4a15_a55a_c8d9606f30b5);

/// Stands for the workspace in keys; there is one.
const WORKSPACE: &str = "*";

/// Returns the id of a document whose references are ids, unless it has nothing to derive it from.
pub(super) fn derive(schema: &Schema, document: &Document) -> Option<Uuid> {
    let key = match cache_key(schema, document) {
        Some(key) => key,
        None => endpoint_key(schema, document)?,
    };
    let namespace = Uuid::new_v5(&NAMESPACE, schema.kind.name().as_bytes());
    Some(Uuid::new_v5(&namespace, key.as_bytes()))
}

/// Returns the composite key as a text, unless all of its fields are unset.
pub(super) fn cache_key(schema: &Schema, document: &Document) -> Option<String> {
    let parts: Vec<_> = schema
        .cache_key
        .iter()
        .map(|name| document.get(*name).map(part).unwrap_or_default())
        .collect();
    let empty = parts.iter().all(String::is_empty);
    (!empty).then(|| format!("{}:{WORKSPACE}:{}", schema.kind, parts.join(":")))
}

fn endpoint_key(schema: &Schema, document: &Document) -> Option<String> {
    let field = schema.endpoint_key?;
    let mut key = document.get(field)?.as_str()?.to_owned();
    if !schema.fields.find(field).is_some_and(|field| field.unique) {
        let parents = schema.foreign_fields().filter(|(.., rule)| *rule == OnDelete::Cascade);
        for id in parents.filter_map(|(name, ..)| document.get(name).and_then(reference)) {
            key = format!("{key}:{id}");
        }
        key = format!("{key}:{WORKSPACE}");
    }
    Some(key)
}

fn part(value: &Value) -> String {
    match (value, reference(value)) {
        (_, Some(id)) => id.to_string(),
        (Value::Null, None) => String::new(),
        (Value::String(text), None) => text.clone(),
        (other, None) => encode_value(other),
    }
}
