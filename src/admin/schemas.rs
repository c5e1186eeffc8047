//! Schemas for clients: `/schemas/…` describes what documents hold and checks documents without
//! storing them (reference gateway-2, section B.6).

use axum::response::Response;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::Admin;
use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::reply;
use crate::domain::decide::{self, Fresh};
use crate::domain::kinds::plugin;
use crate::domain::schema;

/// The kind whose documents follow the backend that they name.
const VAULTS: &str = "vaults";

/// A path about schemas; names are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SchemaPlace {
    /// What documents of a kind hold.
    Kind(String),
    /// What plugins of one name hold in place of what all plugins hold.
    Plugin(String),
    /// The `config` of plugins of one name alone, as it was asked for before Kong 1.2.
    PluginConfig(String),
    /// What vaults of one backend hold.
    Vault(String),
    /// The configuration of a WebAssembly filter, which no node has.
    Filter(String),
    /// Whether a document would be accepted as one of this kind.
    Validate(String),
}

/// The paths, as `/endpoints` shows them.
pub(super) const PATTERNS: &[&str] = &[
    "/plugins/schema/{name}",
    "/schemas/filters/{name}",
    "/schemas/plugins/validate",
    "/schemas/plugins/{name}",
    "/schemas/vaults/validate",
    "/schemas/vaults/{name}",
    "/schemas/{db_entity_name}/validate",
    "/schemas/{name}",
];

impl SchemaPlace {
    /// Resolves the raw segments of a path.
    pub(super) fn resolve(segments: &[&str]) -> Option<Self> {
        let (make, name): (fn(String) -> Self, _) = match *segments {
            ["plugins", "schema", name] => (Self::PluginConfig, name),
            ["schemas", name] => (Self::Kind, name),
            ["schemas", kind, "validate"] => (Self::Validate, kind),
            ["schemas", "plugins", name] => (Self::Plugin, name),
            ["schemas", "vaults", name] => (Self::Vault, name),
            ["schemas", "filters", name] => (Self::Filter, name),
            _ => return None,
        };
        let name = percent_decode_str(name).decode_utf8().ok()?.into_owned();
        (!name.is_empty()).then(|| make(name))
    }

    /// Returns the methods that the path knows, sorted.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Validate(_) => "OPTIONS, POST",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

/// Answers a request about schemas.
pub(super) fn answer(
    admin: &Admin,
    call: &Call,
    place: &SchemaPlace,
) -> Result<Response, ApiError> {
    let catalog = &admin.0.catalog;
    let (found, missing) = match place {
        SchemaPlace::Kind(name) => (catalog.describe(name), format!("No entity named '{name}'")),
        SchemaPlace::Plugin(name) => {
            (catalog.describe_part(plugin::KIND, name), format!("No plugin named '{name}'"))
        }
        SchemaPlace::PluginConfig(name) => {
            let config = catalog.plugin(name).map(|plugin| schema::describe_field(&plugin.config));
            (config, format!("No plugin named '{name}'"))
        }
        SchemaPlace::Vault(name) => {
            let vaults = catalog.kind(VAULTS);
            let found = vaults.and_then(|kind| catalog.describe_part(kind, name));
            (found, format!("No vault named '{name}'"))
        }
        SchemaPlace::Filter(name) => (None, format!("Filter '{name}' not found")),
        SchemaPlace::Validate(kind) => {
            debug_assert_eq!(call.method, Method::POST, "the path knows no other");
            return validate(admin, call, kind);
        }
    };
    match found {
        Some(description) => Ok(reply::json(StatusCode::OK, &description)),
        None => Err(ApiError::Missing(missing)),
    }
}

/// Checks a document as if it were created, but not against what is stored: references need a
/// shape only, and values need not be unique.
fn validate(admin: &Admin, call: &Call, kind: &str) -> Result<Response, ApiError> {
    let catalog = &admin.0.catalog;
    let missing = || ApiError::Missing(format!("No entity named '{kind}'"));
    let kind = catalog.described(kind).ok_or_else(missing)?.kind;
    let document = Body::read(call)?.document(catalog, kind, None);
    let clock = &admin.0.clock;
    let mut fresh = Fresh { at: clock.now(), id: &mut || clock.id() };
    decide::check(catalog, kind, document, &mut fresh)?;
    Ok(reply::json(StatusCode::OK, &json!({"message": "schema validation successful"})))
}
