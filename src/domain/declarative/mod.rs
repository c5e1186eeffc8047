//! Kong's declarative form: one tree with an array for each kind
//! (reference hybrid.md, section 10; gateway-1, section A.10).
//!
//! [`parse`] reads what people and other tools write: nesting, names as references, absent ids
//! and defaults; [`receive`] what Kong's control planes send. [`export`] writes the flat form, and
//! [`read_flat`] reads exactly that back, adding nothing, so that an old export keeps its hash
//! under a newer release's defaults.

mod id;
mod parse;
pub mod yaml;

use serde_json::{Map, Value, json};

use super::canonical::Document;
use super::catalog::Catalog;
use super::config::{Config, reference};
use super::entity::{Entity, EntityError, Kind};
use super::schema::{Auto, Field, Fields, Schema, Type};

pub use parse::{parse, receive};

/// The version that exports carry.
const FORMAT_VERSION: &str = "3.0";

/// The versions that are read.
const FORMAT_VERSIONS: [&str; 3] = ["1.1", "2.1", "3.0"];

/// Returns a config in the flat form: foreign keys as id strings, already transformed. An absent
/// field that has a default is written as null, so that reading it back does not fill it.
pub fn export(catalog: &Catalog, config: &Config) -> Value {
    let mut tree = preamble();
    for schema in catalog.schemas() {
        let entities = config.of_kind(schema.kind, None);
        let list: Vec<_> = entities.map(|entity| flat(catalog, entity)).collect();
        if !list.is_empty() {
            tree.insert(schema.kind.name().into(), list.into());
        }
    }
    Value::Object(tree)
}

/// Returns what the flat form has beside the entities.
pub fn preamble() -> Document {
    let mut tree = Map::new();
    tree.insert("_format_version".into(), FORMAT_VERSION.into());
    tree.insert("_transform".into(), false.into());
    tree
}

/// Returns one entity in the flat form.
pub fn flat(catalog: &Catalog, entity: &Entity) -> Value {
    let schema = catalog.schema(entity.kind());
    let mut document = entity.document();
    mark_nulls(catalog.fields(schema.kind, &document), &mut document);
    for (field, _, _) in schema.foreign_fields() {
        if let Some(id) = document.get(field).and_then(reference) {
            document.insert(field.into(), id.to_string().into());
        }
    }
    Value::Object(document)
}

fn mark_nulls(fields: &Fields, document: &mut Document) {
    for (name, field) in fields.iter() {
        match document.get_mut(name) {
            Some(value) => mark_value(field, value),
            None if field.default.as_ref().is_some_and(|default| !default.is_null())
                || field.auto == Some(Auto::Secret) =>
            {
                document.insert(name.to_owned(), Value::Null);
            }
            None => {}
        }
    }
}

fn mark_value(field: &Field, value: &mut Value) {
    match (&field.ty, value) {
        (Type::Record(fields), Value::Object(object)) => mark_nulls(fields, object),
        (Type::Array(element) | Type::Set(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| mark_value(element, item));
        }
        _ => {}
    }
}

/// Reads what [`flat`] wrote, and nothing else: no nesting, names, defaults or absent ids.
///
/// # Errors
///
/// The document has no valid id.
pub fn read_flat(schema: &Schema, mut document: Document) -> Result<Entity, EntityError> {
    for (field, _, _) in schema.foreign_fields() {
        if let Some(Value::String(id)) = document.get(field) {
            let id = json!({"id": id});
            document.insert(field.into(), id);
        }
    }
    Entity::new(schema.kind, &document)
}

/// Returns declared entities with those that `config` has in all but their times put in place of
/// the declared ones, so that importing a file twice changes nothing the second time.
pub fn keep_times(catalog: &Catalog, config: &Config, entities: Vec<Entity>) -> Vec<Entity> {
    let same = |entity: &Entity| {
        let old = config.find(entity.key())?;
        let schema = catalog.schema(entity.kind());
        (without_times(schema, old) == without_times(schema, entity)).then(|| old.clone())
    };
    entities.into_iter().map(|entity| same(&entity).unwrap_or(entity)).collect()
}

fn without_times(schema: &Schema, entity: &Entity) -> Document {
    let mut document = entity.document();
    let timed = |field: &Field| matches!(field.auto, Some(Auto::CreatedAt | Auto::UpdatedAt));
    schema.fields.iter().filter(|(_, field)| timed(field)).for_each(|(name, _)| {
        document.remove(name);
    });
    document
}

/// The texts of Kong for what only a set of entities can have wrong.
fn invalid_reference(field: &str, value: &str, kind: Kind) -> String {
    format!("invalid reference '{field}: {value}' (no such entry in '{kind}')")
}

fn declared_twice(kind: Kind, what: &str, value: &str) -> String {
    format!("uniqueness violation: '{kind}' entity with {what} set to '{value}' already declared")
}

#[cfg(test)]
mod tests;
