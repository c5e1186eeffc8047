//! Key sets: groups of keys (reference gateway-1, section A.7).

use serde::Deserialize;
use uuid::Uuid;

use super::typedef;
use crate::domain::entity::Kind;
use crate::domain::schema::{Auto, Field, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("key_sets");

/// A key set as the data plane reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// Its id.
    pub id: Uuid,
    /// Its unique name.
    pub name: Option<String>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
}

/// Returns the schema.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .paths("key-sets", "key-sets")
        .endpoint_key("name")
        .field("id", typedef::id())
        .field("name", Field::string().optional().unique())
        .field("tags", typedef::tags())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
}
