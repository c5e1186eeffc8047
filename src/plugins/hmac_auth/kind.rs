//! Credentials of `hmac-auth` (reference gateway-1, section A.8).

use serde::Deserialize;
use uuid::Uuid;

use crate::domain::entity::Kind;
use crate::domain::kinds::{Reference, typedef};
use crate::domain::schema::{Auto, Field, Schema};
use crate::plugins::typedef::credential;

/// The kind.
pub const KIND: Kind = Kind::new("hmacauth_credentials");

/// What requests of a consumer are signed with, as the data plane reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacCredential {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Whose it is.
    pub consumer: Reference,
    /// The name that signatures carry.
    pub username: String,
    /// The secret that they are made with.
    pub secret: Option<String>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Returns the schema.
pub fn schema() -> Schema {
    credential(KIND, ("hmac-auths", "hmac-auth"), &["username"])
        .field("username", Field::string().required().unique())
        .field("secret", Field::string().auto(Auto::Secret))
        .field("tags", typedef::tags())
}
