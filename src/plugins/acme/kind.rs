//! What `acme` keeps in the configuration: accounts, challenges, certificates (reference
//! gateway-1, section A.8).

use serde::Deserialize;
use uuid::Uuid;

use crate::domain::entity::Kind;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Auto, Field, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("acme_storage");

/// One thing kept, as the data plane reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Its id.
    pub id: Uuid,
    /// What it is found by.
    pub key: String,
    /// What it is.
    pub value: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds between its creation and its end.
    pub ttl: Option<i64>,
}

/// Returns the schema.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .endpoint_key("key")
        .cache_key(&["key"])
        .field("id", typedef::id())
        .field("key", Field::string().required().unique().auto(Auto::Secret))
        .field("value", Field::string().required().auto(Auto::Secret))
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .ttl()
}
