//! Keys: public and private keys that plugins sign and verify with (reference gateway-1, section
//! A.7). Each is a JWK or a PEM pair.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Reference, key_set, typedef};
use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::pem::{self, jwk};
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Check, Field, OnDelete, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("keys");

/// A key as the data plane reads it.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its id.
    pub id: Uuid,
    /// The set that it is of.
    pub set: Option<Reference>,
    /// Its unique name.
    pub name: Option<String>,
    /// Its name within its set, as tokens have it.
    pub kid: String,
    /// A JSON Web Key, as text, or a reference to a vault.
    pub jwk: Option<String>,
    /// A pair in PEM.
    pub pem: Option<PemPair>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
}

/// A pair in PEM; each text may be a reference to a vault.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PemPair {
    /// The private key.
    pub private_key: Option<String>,
    /// The public key.
    pub public_key: Option<String>,
}

impl std::fmt::Debug for Key {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PemPair {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemPair").finish_non_exhaustive()
    }
}

/// Returns the schema.
pub fn schema() -> Schema {
    let half = || Field::string().optional().referenceable();
    let pair = [("private_key", half().encrypted()), ("public_key", half())];
    let either = Check::AtLeastOneOf(&["private_key", "public_key"]);
    let pair = Field::record(pair).optional().check(either).custom(is_pair);
    Schema::new(KIND)
        .endpoint_key("name")
        .cache_key(&["kid", "set"])
        .field("id", typedef::id())
        .field("set", Field::foreign(key_set::KIND, OnDelete::Cascade).optional())
        .field("name", Field::string().optional().unique())
        .field("kid", Field::string().required())
        .field("jwk", Field::string().encrypted().referenceable())
        .field("pem", pair)
        .field("tags", typedef::tags())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .check(Check::MutuallyExclusive(&["jwk", "pem"]))
        .check(Check::AtLeastOneOf(&["jwk", "pem"]))
        .check(Check::custom(&["jwk", "pem", "kid"], is_jwk))
}

fn is_jwk(document: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let Some(jwk) = text("jwk").filter(|jwk| !pem::is_reference(jwk)) else { return errors };
    let why = match serde_json::from_str::<Value>(jwk) {
        Err(_) => "could not json decode jwk string",
        Ok(Value::Object(key)) => match key.get("kid").and_then(Value::as_str) == text("kid") {
            false => "kid in jwk.kid must be equal to keys.kid",
            true if jwk::is_valid(&key) => return errors,
            true => "could not load JWK, likely not a valid key",
        },
        Ok(_) => "could not load JWK, likely not a valid key",
    };
    errors.entity(why);
    errors
}

fn is_pair(value: &Value) -> Result<(), String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let (private, public) = (text("private_key"), text("public_key"));
    if [private, public].into_iter().flatten().any(pem::is_reference) {
        return Ok(());
    }
    let public = public.map(pem::public_key).transpose();
    let public = public.map_err(|_| "could not load public key".to_owned())?;
    let private = private.map(pem::private_key).transpose();
    let private = private.map_err(|error| format!("could not load private key: {error}"))?;
    match private.zip(public) {
        Some((private, public)) if private != public => {
            Err("public key does not match private key".into())
        }
        _ => Ok(()),
    }
}
