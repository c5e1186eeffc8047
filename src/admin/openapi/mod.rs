//! The description of the Admin API as an OpenAPI 3.1 document, made of the same catalog and the
//! same table of paths that requests are answered by: what is served is described.
//!
//! Invariant: every path of `/endpoints` is in the document, with every method that it knows.

mod entity;
mod field;
mod node;
mod operation;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::VERSION;
use super::auth::tokens::TokenPlace;
use super::place::{self, Place};
use crate::domain::catalog::Catalog;
use crate::settings::{KONG_VERSION, Role};

/// Returns the document for a node of a role.
pub(super) fn document(catalog: &Catalog, role: Role) -> Value {
    let mut schemas = field::components(catalog);
    schemas.extend(operation::components());
    let paths: Map<_, _> = place::patterns(catalog, role)
        .into_iter()
        .filter_map(|pattern| Some((pattern.clone(), path(catalog, &pattern)?)))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hybridctl Admin API",
            "version": VERSION,
            "description": format!("Speaks the Admin API of Kong {KONG_VERSION}."),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas, "responses": operation::responses()},
    })
}

/// Describes a path. A pattern resolves like any path: its parameters are names.
fn path(catalog: &Catalog, pattern: &str) -> Option<Value> {
    let place = Place::resolve(catalog, pattern);
    let methods = match &place {
        Some(place) => place.methods(),
        None => TokenPlace::resolve(pattern)?.methods(),
    };
    let mut item = Map::new();
    let parameters: Vec<_> = pattern
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(operation::path_parameter)
        .collect();
    if !parameters.is_empty() {
        item.insert("parameters".into(), parameters.into());
    }
    for method in methods.split(", ") {
        let mut described = match &place {
            None => node::tokens(method),
            Some(Place::Fixed(fixed)) => node::fixed(*fixed, method),
            Some(Place::Info(info)) => node::info(info, method),
            Some(
                place @ (Place::Schema(_)
                | Place::Event(_)
                | Place::Snapshot(_)
                | Place::Difference(..)),
            ) => node::known(place, method),
            Some(place) => entity::operation(catalog, place, method),
        };
        described["operationId"] = operation_id(method, pattern).into();
        item.insert(method.to_ascii_lowercase(), described);
    }
    Some(Value::Object(item))
}

fn operation_id(method: &str, pattern: &str) -> String {
    let words = pattern.split(|sign: char| !sign.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    format!("{}_{}", method.to_ascii_lowercase(), words.join("_"))
}
