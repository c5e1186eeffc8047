//! SNIs: the names under which certificates are shown (reference gateway-1, section A.6).

use serde::Deserialize;
use uuid::Uuid;

use super::{Reference, certificate, typedef};
use crate::domain::entity::Kind;
use crate::domain::schema::{Auto, Field, OnDelete, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("snis");

/// An SNI as the data plane reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sni {
    /// Its id.
    pub id: Uuid,
    /// The name, with one `*` at most as its first or last character.
    pub name: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What is shown to those who ask for the name.
    pub certificate: Reference,
}

/// Returns the schema.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .endpoint_key("name")
        .pathless(&["certificate"])
        .field("id", typedef::id())
        .field("name", typedef::wildcard_host().required().unique().unique_across_workspaces())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("tags", typedef::tags())
        .field("certificate", Field::foreign(certificate::KIND, OnDelete::Owned).required())
}
