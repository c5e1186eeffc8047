//! Vaults: where referenced secrets are kept (reference gateway-1, section A.7; gateway-4, part H).

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::typedef;
use crate::domain::entity::Kind;
use crate::domain::schema::{Auto, Field, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("vaults");

/// The backends that there are; no prefix may have their names.
pub const BACKENDS: &[&str] = &["env"];

/// A vault as the data plane reads it.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// Its id.
    pub id: Uuid,
    /// The unique name that references have.
    pub prefix: String,
    /// Its backend.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What the backend is told.
    #[serde(default)]
    pub config: EnvConfig,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl std::fmt::Debug for Vault {
    /// Leaves the config out: a backend's may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the backend `env` is told.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvConfig {
    /// What the names of its variables begin with.
    pub prefix: Option<String>,
}

/// Returns the schema. What `config` may hold, [`config_of`] knows.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .endpoint_key("prefix")
        .cache_key(&["prefix"])
        .field("id", typedef::id())
        .field("prefix", Field::string().required().unique().custom(prefix))
        .field("name", Field::string().required())
        .field("description", Field::string())
        .field("config", Field::abstract_record())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("tags", typedef::tags())
}

/// Returns the field `config` of a backend.
pub fn config_of(backend: &str) -> Option<Field> {
    let variable = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '-');
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        match begins && text.chars().all(good) {
            true => Ok(()),
            false => Err(format!("invalid value: {text}")),
        }
    };
    match backend {
        "env" => Some(Field::record([("prefix", Field::string().custom(variable))])),
        _ => None,
    }
}

/// A prefix is a lower-case word that is no backend's name.
fn prefix(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if BACKENDS.contains(&text) {
        return Err(format!("must not be one of: {}", BACKENDS.join(", ")));
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let word = text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(good)
        && !text.ends_with('-');
    if word { Ok(()) } else { Err(format!("invalid value: {text}")) }
}
