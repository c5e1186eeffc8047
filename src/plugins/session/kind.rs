//! Sessions that `session` keeps in the configuration (reference gateway-1, section A.8).

use serde::Deserialize;
use uuid::Uuid;

use crate::domain::entity::Kind;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Auto, Field, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("sessions");

/// A session as the data plane reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// What the cookie names.
    pub session_id: String,
    /// Seconds since 1970 at which it ends.
    pub expires: Option<i64>,
    /// What it holds, encrypted by the plugin.
    pub data: Option<String>,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds between its creation and its end.
    pub ttl: Option<i64>,
}

/// Returns the schema.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .endpoint_key("session_id")
        .secret_key()
        .cache_key(&["session_id"])
        .field("id", typedef::id())
        .field("session_id", Field::string().required().unique())
        .field("expires", Field::integer())
        .field("data", Field::string())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .ttl()
}
