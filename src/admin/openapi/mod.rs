//! The description of the Admin API as an OpenAPI 3.1 document, made of the same catalog and the
//! same table of paths that requests are answered by: what is served is described.
//!
//! Invariant: every path of `/endpoints` is in the document, with every method that it knows.

mod entity;
mod field;
mod node;
mod operation;
mod promotion;
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
            "description": format!(
                "Speaks the Admin API of Kong {KONG_VERSION}. Every answer names the configuration \
                 that it was read from or led to in `ETag`; a write with `If-Match` happens on that \
                 configuration or not at all. `X-Change-Reason` is kept with the event of a write."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas, "responses": operation::responses(), "securitySchemes": {
            "token": {"type": "apiKey", "in": "header", "name": "Kong-Admin-Token"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }},
        // A node asks for a token only when its settings say so.
        "security": [{}, {"token": []}, {"bearer": []}],
    })
}

/// Describes a path. A pattern resolves like any path: its parameters are names.
fn path(catalog: &Catalog, pattern: &str) -> Option<Value> {
    let named = Named::resolve(catalog, pattern)?;
    let mut item = Map::new();
    let parameters: Vec<_> = pattern
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(operation::path_parameter)
        .collect();
    if !parameters.is_empty() {
        item.insert("parameters".into(), parameters.into());
    }
    for method in named.methods().split(", ") {
        let mut described = match &named {
            Named::Tokens(place) => node::tokens(place, method),
            Named::Place(place) => operation(catalog, place, method),
        };
        described["operationId"] = operation_id(method, pattern).into();
        item.insert(method.to_ascii_lowercase(), described);
    }
    Some(Value::Object(item))
}

/// What a path names.
enum Named {
    Tokens(TokenPlace),
    Place(Place),
}

impl Named {
    fn resolve(catalog: &Catalog, path: &str) -> Option<Self> {
        let tokens = TokenPlace::resolve(path).map(Self::Tokens);
        tokens.or_else(|| Place::resolve(catalog, path).map(Self::Place))
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Tokens(place) => place.methods(),
            Self::Place(place) => place.methods(),
        }
    }
}

fn operation(catalog: &Catalog, place: &Place, method: &str) -> Value {
    match place {
        Place::Pin(_) => promotion::pin(method),
        Place::Quarantined(_) => promotion::quarantined(method),
        Place::Fixed(fixed) => node::fixed(*fixed, method),
        Place::Info(info) => node::info(info, method),
        Place::Schema(schema) => node::schema(schema, method),
        Place::Event(_) | Place::Snapshot(_) | Place::Difference(..) => node::past(place, method),
        place => entity::operation(catalog, place, method),
    }
}

fn operation_id(method: &str, pattern: &str) -> String {
    let words = pattern.split(|sign: char| !sign.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    format!("{}_{}", method.to_ascii_lowercase(), words.join("_"))
}
