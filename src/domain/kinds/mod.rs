//! The kinds: one file each, with the schema that the control plane writes by and the typed
//! struct that the data plane compiles from (fields: reference gateway-1, sections A.3 to A.5).
//!
//! To add a kind: a file with `KIND`, `schema()` and its struct, and a line in [`ALL`]. Kinds that
//! belong to a plugin stand in the plugin's file and reach the catalog through the plugin.

pub mod ca_certificate;
pub mod certificate;
pub mod consumer;
pub mod key;
pub mod key_set;
pub mod plugin;
pub mod route;
pub mod service;
pub mod shown;
pub mod sni;
pub mod target;
pub mod typedef;
pub mod upstream;
pub mod vault;

use super::entity::{Entity, EntityError};
use super::schema::Schema;

/// A kind: its schema and the proof that its typed struct reads what the schema admits.
#[derive(Clone, Copy)]
pub struct KindEntry {
    /// Builds the schema.
    pub schema: fn() -> Schema,
    /// Decodes an entity of the kind into its typed struct and drops it.
    pub check: fn(&Entity) -> Result<(), EntityError>,
}

/// All core kinds; a kind stands after those that it refers to.
pub const ALL: &[KindEntry] = &[
    KindEntry { schema: certificate::schema, check: decodes::<certificate::Certificate> },
    KindEntry { schema: service::schema, check: decodes::<service::Service> },
    KindEntry { schema: route::schema, check: decodes::<route::Route> },
    KindEntry { schema: consumer::schema, check: decodes::<consumer::Consumer> },
    KindEntry { schema: upstream::schema, check: decodes::<upstream::Upstream> },
    KindEntry { schema: target::schema, check: decodes::<target::Target> },
    KindEntry { schema: plugin::schema, check: decodes::<plugin::Plugin> },
    KindEntry { schema: sni::schema, check: decodes::<sni::Sni> },
    KindEntry { schema: ca_certificate::schema, check: decodes::<ca_certificate::CaCertificate> },
    KindEntry { schema: vault::schema, check: decodes::<vault::Vault> },
    KindEntry { schema: key_set::schema, check: decodes::<key_set::KeySet> },
    KindEntry { schema: key::schema, check: decodes::<key::Key> },
];

/// Checks that an entity decodes into `T`.
pub fn decodes<T: serde::de::DeserializeOwned>(entity: &Entity) -> Result<(), EntityError> {
    entity.decode::<T>().map(drop)
}

/// A reference as documents carry it: `{"id": …}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The id of the entity referred to.
    pub id: uuid::Uuid,
}

#[cfg(test)]
pub(crate) mod tests;
