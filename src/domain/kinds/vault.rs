//! Vaults: where referenced secrets are kept (reference gateway-1, section A.7; gateway-4, part H).

use serde::Deserialize;
use uuid::Uuid;

use super::typedef;
use crate::domain::entity::Kind;
use crate::domain::schema::{Auto, Field, Schema, Subschema};

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

/// Returns the schema.
pub fn schema() -> Schema {
    let prefix = Field::string()
        .required()
        .unique()
        .unique_across_workspaces()
        .not_one_of(BACKENDS.iter().copied())
        .matches("^[a-z][a-z%d-]-[a-z%d]+$");
    Schema::new(KIND)
        .endpoint_key("prefix")
        .cache_key(&["prefix"])
        .field("id", typedef::id())
        .field("prefix", prefix)
        .field("name", Field::string().required())
        .field("description", Field::string())
        .field("config", Field::abstract_record())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("tags", typedef::tags())
        .subschema(env())
}

/// What vaults of the backend `env` hold.
fn env() -> Subschema {
    let prefix = Field::string().matches("^[%a_-][%a%d_-]*$");
    Subschema::new("env").field("config", Field::record([("prefix", prefix)]).required())
}
