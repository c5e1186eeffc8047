//! Credentials of `jwt` (reference gateway-1, section A.8).

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::entity::Kind;
use crate::domain::kinds::{Reference, typedef};
use crate::domain::pem;
use crate::domain::schema::{Auto, Check, Field, Match, Schema, Validator};
use crate::plugins::typedef::credential;

/// The kind.
pub const KIND: Kind = Kind::new("jwt_secrets");

/// What tokens of a consumer are verified with, as the data plane reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSecret {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Whose it is.
    pub consumer: Reference,
    /// The value of the claim by which it is found.
    pub key: Option<String>,
    /// The secret of the HMAC algorithms.
    pub secret: Option<String>,
    /// The public key of the others, in PEM.
    pub rsa_public_key: Option<String>,
    /// The algorithm that tokens must have.
    pub algorithm: Option<String>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
    "PS384", "PS512", "EdDSA",
];

/// The algorithms whose public key is checked on write; that of ES* is not, as in Kong.
const KEYED: &[&str] =
    &["^RS256$", "^RS384$", "^RS512$", "^PS256$", "^PS384$", "^PS512$", "^EdDSA$"];

/// Returns the schema.
pub fn schema() -> Schema {
    credential(KIND, ("jwts", "jwt"), &["key"])
        .field("key", Field::string().optional().unique().auto(Auto::Secret))
        .field("secret", Field::string().auto(Auto::Secret))
        .field("rsa_public_key", Field::string())
        .field("algorithm", Field::string().default("HS256").one_of(ALGORITHMS.iter().copied()))
        .field("tags", typedef::tags())
        .check(Check::conditional(
            "algorithm",
            Match::match_any(KEYED.iter().copied()),
            "rsa_public_key",
            Match::required().and(Validator::code(is_key)),
        ))
}

fn is_key(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match pem::public_key(text).is_ok() || pem::private_key(text).is_ok() {
        true => Ok(()),
        false => Err("invalid key".to_owned()),
    }
}
