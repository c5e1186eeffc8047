//! Consumers: who calls the proxied services (reference gateway-1, section A.5).

use serde::Deserialize;
use uuid::Uuid;

use super::typedef;
use crate::domain::entity::Kind;
use crate::domain::schema::{Auto, Check, Field, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("consumers");

/// A consumer as the data plane reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// Its unique name here.
    pub username: Option<String>,
    /// Its unique name in the operator's own systems.
    pub custom_id: Option<String>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Returns the schema.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .endpoint_key("username")
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("username", Field::string().unique())
        .field("custom_id", Field::string().unique())
        .field("tags", typedef::tags())
        .check(Check::AtLeastOneOf(&["custom_id", "username"]))
}
