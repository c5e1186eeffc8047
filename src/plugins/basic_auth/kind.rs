//! Credentials of `basic-auth` (reference gateway-1, section A.8).

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::fresh::Fresh;
use crate::domain::kinds::{Reference, typedef};
use crate::domain::pem::sha1_hex;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Field, Schema};
use crate::plugins::typedef::credential;

/// The kind.
pub const KIND: Kind = Kind::new("basicauth_credentials");

/// A name and a password of a consumer, as the data plane reads them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicCredential {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Whose it is.
    pub consumer: Reference,
    /// The name.
    pub username: String,
    /// What [`hash`] makes of the password.
    pub password: String,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Returns the schema. A password is hashed when it is written and never kept.
pub fn schema() -> Schema {
    credential(KIND, ("basic-auths", "basic-auth"), &["username"])
        .field("username", Field::string().required().unique())
        .field("password", Field::string().required().encrypted())
        .field("tags", typedef::tags())
        .transform(&["password"], hash_password)
}

/// Returns what is kept of a password: Kong's form, so that its exports can be read.
pub fn hash(password: &str, consumer: Uuid) -> String {
    sha1_hex(&format!("{password}{consumer}"))
}

fn hash_password(document: &mut Document, _: &mut Fresh<'_>) -> Result<(), FieldErrors> {
    let consumer = document.get("consumer").and_then(crate::domain::config::reference);
    if let (Some(consumer), Some(Value::String(password))) =
        (consumer, document.get_mut("password"))
    {
        *password = hash(password, consumer);
    }
    Ok(())
}
