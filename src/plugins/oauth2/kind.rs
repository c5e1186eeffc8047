//! What `oauth2` keeps in the configuration: clients, tokens and authorization codes (reference
//! gateway-1, section A.8).

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::secret;
use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::fresh::Fresh;
use crate::domain::kinds::{Reference, plugin, service, typedef};
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Field, OnDelete, Schema};
use crate::plugins::typedef::credential;

/// The kind of clients.
pub const CREDENTIALS: Kind = Kind::new("oauth2_credentials");
/// The kind of tokens.
pub const TOKENS: Kind = Kind::new("oauth2_tokens");
/// The kind of authorization codes.
pub const CODES: Kind = Kind::new("oauth2_authorization_codes");

/// A client of a consumer, as the data plane reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Whose it is.
    pub consumer: Reference,
    /// What users are shown.
    pub name: String,
    /// What it calls itself.
    pub client_id: Option<String>,
    /// What it proves itself with: clear, or as [`secret::hash`] has it.
    pub client_secret: Option<String>,
    /// Whether the secret is hashed.
    pub hash_secret: bool,
    /// Where users may be sent back to.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `confidential` or `public`.
    pub client_type: String,
}

/// A token, as the data plane reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// The service that it is good for; unset is any.
    pub service: Option<Reference>,
    /// Whose it is.
    pub credential: Reference,
    /// `bearer`.
    pub token_type: String,
    /// Seconds after its creation at which it is no longer accepted; 0 is never.
    pub expires_in: i64,
    /// What requests carry.
    pub access_token: Option<String>,
    /// What a new token is given for.
    pub refresh_token: Option<String>,
    /// Which user the client speaks for.
    pub authenticated_userid: Option<String>,
    /// What it allows.
    pub scope: Option<String>,
    /// Seconds between its creation and its end.
    pub ttl: Option<i64>,
}

/// An authorization code, as the data plane reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// The service that it is good for.
    pub service: Option<Reference>,
    /// Whose it is.
    pub credential: Reference,
    /// The code.
    pub code: Option<String>,
    /// Which user the client speaks for.
    pub authenticated_userid: Option<String>,
    /// What it allows.
    pub scope: Option<String>,
    /// What the client must prove to know.
    pub challenge: Option<String>,
    /// How.
    pub challenge_method: Option<String>,
    /// The plugin that handed it out.
    pub plugin: Option<Reference>,
    /// Seconds between its creation and its end.
    pub ttl: Option<i64>,
}

/// Returns the schema of clients.
pub fn credentials() -> Schema {
    credential(CREDENTIALS, ("oauth2", "oauth2"), &["client_id"])
        .field("name", Field::string().required())
        .field("client_id", Field::string().optional().unique().auto(Auto::Secret))
        .field("client_secret", Field::string().optional().auto(Auto::Secret).encrypted())
        .field("hash_secret", Field::boolean().required().default(false))
        .field("redirect_uris", Field::array(Field::string().custom(redirect_uri)).optional())
        .field("tags", typedef::tags())
        .field("client_type", {
            Field::string().required().default("confidential").one_of(["confidential", "public"])
        })
        .transform(&["hash_secret", "client_secret"], hash_secret)
}

/// Returns the schema of tokens.
pub fn tokens() -> Schema {
    Schema::new(TOKENS)
        .endpoint_key("access_token")
        .cache_key(&["access_token"])
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("service", scope(service::KIND))
        .field("credential", Field::foreign(CREDENTIALS, OnDelete::Cascade).required())
        .field("token_type", Field::string().required().default("bearer").one_of(["bearer"]))
        .field("expires_in", Field::integer().required())
        .field("access_token", Field::string().optional().unique().auto(Auto::Secret))
        .field("refresh_token", Field::string().optional().unique())
        .field("authenticated_userid", Field::string().optional())
        .field("scope", Field::string())
        .ttl()
}

/// Returns the schema of authorization codes, to which no path leads.
pub fn codes() -> Schema {
    Schema::new(CODES)
        .unreachable()
        .endpoint_key("code")
        .cache_key(&["code"])
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("service", scope(service::KIND))
        .field("credential", Field::foreign(CREDENTIALS, OnDelete::Cascade).required())
        .field("code", Field::string().optional().unique().auto(Auto::Secret))
        .field("authenticated_userid", Field::string().optional())
        .field("scope", Field::string())
        .field("challenge", Field::string().optional())
        .field("challenge_method", Field::string().optional().one_of(["S256"]))
        .field("plugin", scope(plugin::KIND))
        .ttl()
}

/// What a token or code is limited to.
fn scope(kind: Kind) -> Field {
    Field::foreign(kind, OnDelete::Cascade).default(Value::Null)
}

fn redirect_uri(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let (address, fragment) = match text.split_once('#') {
        Some((address, _)) => (address, true),
        None => (text, false),
    };
    let host = address.split_once("://").filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let has_host = host.is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with(['/', '?']));
    match (has_host, fragment) {
        (false, _) => Err(format!("cannot parse '{text}'")),
        (true, true) => Err(format!("fragment not allowed in '{text}'")),
        (true, false) => Ok(()),
    }
}

/// A secret that was hashed before stays as it is.
fn hash_secret(document: &mut Document, fresh: &mut Fresh<'_>) -> Result<(), FieldErrors> {
    if document.get("hash_secret") == Some(&Value::Bool(true))
        && let Some(Value::String(text)) = document.get_mut("client_secret")
        && !secret::is_hash(text)
    {
        *text = secret::hash(text, (fresh.id)());
    }
    Ok(())
}
