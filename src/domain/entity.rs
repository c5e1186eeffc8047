//! Entities: a kind, an id and a document, held as canonical bytes.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::canonical::{self, Document};

/// The name of a kind as Kong's schemas have it, such as `services`; made by a
/// [`Catalog`](super::catalog::Catalog) or a `const` beside the schema.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(&'static str);

impl Kind {
    /// Names a kind.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Returns the kind's name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The primary key of an entity; orders by kind, then id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The id, unique within the kind.
    pub id: Uuid,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// One entity. Its bytes are shared between configs, snapshots and events, never copied.
#[derive(Clone, PartialEq, Eq)]
pub struct Entity {
    key: Key,
    bytes: Arc<[u8]>,
}

/// Why an entity's bytes cannot be read as what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EntityError {
    /// The bytes are not the JSON object that was expected.
    #[error("{key} is not what its kind expects")]
    Decode {
        /// Whose bytes.
        key: Key,
        /// What the decoder said.
        #[source]
        source: serde_json::Error,
    },
    /// The document carries no valid `id`.
    #[error("an entity of kind {0} has no valid id")]
    Id(Kind),
}

impl Entity {
    /// Makes an entity of a document, which must carry its `id`.
    pub fn new(kind: Kind, document: &Document) -> Result<Self, EntityError> {
        let id = document.get("id").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
        let id = id.ok_or(EntityError::Id(kind))?;
        Ok(Self { key: Key { kind, id }, bytes: canonical::encode(document).into() })
    }

    /// Reads an entity from any JSON text of its document; the bytes kept are canonical.
    pub fn parse(kind: Kind, json: &[u8]) -> Result<Self, EntityError> {
        let document: Document = serde_json::from_slice(json)
            .map_err(|source| EntityError::Decode { key: Key { kind, id: Uuid::nil() }, source })?;
        Self::new(kind, &document)
    }

    /// Returns the primary key.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        self.key.kind
    }

    /// Returns the id.
    pub fn id(&self) -> Uuid {
        self.key.id
    }

    /// Returns the canonical bytes of the document.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Returns the canonical text of the document.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("canonical bytes are UTF-8")
    }

    /// Decodes the document.
    pub fn document(&self) -> Document {
        serde_json::from_slice(&self.bytes).expect("canonical bytes are a JSON object")
    }

    /// Decodes the document into the typed struct of its kind.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, EntityError> {
        serde_json::from_slice(&self.bytes)
            .map_err(|source| EntityError::Decode { key: self.key, source })
    }
}

impl fmt::Debug for Entity {
    /// Shows the key only: documents may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entity({})", self.key)
    }
}
