//! References by a unique field, such as `{"name": …}`, become references by id.

use serde_json::{Value, json};

use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::rejection::{Rejection, Unresolved};
use crate::domain::schema::Schema;

/// Replaces references by a unique field, such as `{"name": …}`, by references by id.
pub(super) fn resolve(
    catalog: &Catalog,
    config: &Config,
    schema: &Schema,
    body: &mut Document,
) -> Result<(), Rejection> {
    let mut unresolved = Vec::new();
    for (field, kind, _) in schema.foreign_fields() {
        let Some(Value::Object(key)) = body.get(field) else { continue };
        if key.contains_key("id") {
            continue;
        }
        let mut found = None;
        let mut sought = Vec::new();
        for name in catalog.schema(kind).unique_fields() {
            let Some(value) = key.get(name).filter(|value| !value.is_null()) else { continue };
            found = found.or_else(|| config.by_unique(kind, name, value));
            sought.push(Unresolved { field, kind, name, value: value.clone() });
        }
        match found {
            Some(id) => drop(body.insert(field.to_owned(), json!({"id": id.to_string()}))),
            None => unresolved.extend(sought),
        }
    }
    if unresolved.is_empty() {
        return Ok(());
    }
    unresolved.sort_by_key(|reference| (reference.field, reference.name));
    Err(Rejection::Unresolved(unresolved))
}
