//! A catalog and configs for the tests of this folder.

use chrono::DateTime;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::catalog::{Catalog, PluginSchema};
use crate::domain::decide::{Fresh, make};
use crate::domain::entity::{Entity, Kind};
use crate::domain::kinds::{route, service};
use crate::domain::schema::Field;

/// Returns the core kinds and a plugin with the fields of correlation-id.
pub(super) fn catalog() -> Catalog {
    let config = Field::record([
        ("header_name", Field::string().default("Kong-Request-ID")),
        ("generator", Field::string().required().default("uuid#counter")),
        ("echo_downstream", Field::boolean().required().default(false)),
    ]);
    Catalog::new(vec![PluginSchema::new("correlation-id", "3.9.0", 100_001).config(config)])
}

pub(super) fn made(kind: Kind, body: Value) -> Entity {
    let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let mut fresh = Fresh { at, id: &mut Uuid::nil };
    make(&catalog(), kind, body.as_object().unwrap().clone(), &mut fresh).unwrap()
}

pub(super) fn id(n: u32) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &n.to_be_bytes())
}

pub(super) fn service(n: u32, host: &str) -> Entity {
    made(service::KIND, json!({"id": id(n), "name": format!("s{n}"), "host": host}))
}

pub(super) fn route(n: u32, of: u32) -> Entity {
    made(route::KIND, json!({"id": id(n), "paths": [format!("/{n}")], "service": {"id": id(of)}}))
}
