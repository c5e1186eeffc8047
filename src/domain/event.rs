//! Changes and events: what happened to entities, and the accepted write that made it happen.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::catalog::Catalog;
use super::entity::{Entity, EntityError, Key};
use super::hash::{ConfigHash, EventHash};

/// A position in the log; 0 is before the first event.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Returns the position after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happened to one entity: two verbs for every kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The entity is gone.
    Deleted(Key),
    /// The entity is now this.
    Upserted(Entity),
}

impl Change {
    /// Returns the key of the entity that changed.
    pub fn key(&self) -> Key {
        match self {
            Self::Deleted(key) => *key,
            Self::Upserted(entity) => entity.key(),
        }
    }
}

/// Which kind of write an event records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// One Admin API request.
    Written,
    /// A declarative file.
    Imported,
    /// A return to an earlier config.
    RolledBack,
}

impl EventKind {
    /// Returns the name that the log stores.
    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Imported => "imported",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Returns the kind that the log calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Written, Self::Imported, Self::RolledBack].into_iter().find(|k| k.name() == name)
    }
}

/// Who asked for a write, through what; recorded with the event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Who: an authenticated name, or `anonymous`, or the operator's user name.
    pub actor: String,
    /// The id of the request that asked for it.
    pub request_id: String,
    /// Through what: `admin-api`, `cli`, `quickstart`.
    pub source: String,
    /// Which kind of write.
    pub kind: EventKind,
    /// Why, in the words of who asked: `--reason`, `X-Change-Reason`.
    pub reason: Option<String>,
}

/// One accepted write. It may touch many entities but is one event, so the config at every
/// [`Seq`] is complete and valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its position.
    pub seq: Seq,
    /// When it was accepted, by the clock of the control plane; never used for order.
    pub at: DateTime<Utc>,
    /// Who asked for it.
    pub origin: Origin,
    /// What it did; never empty.
    pub changes: Vec<Change>,
    /// The snapshot that it produced.
    pub config_hash: ConfigHash,
    /// The hash of the row before.
    pub prev_hash: EventHash,
    /// The hash of this row.
    pub hash: EventHash,
}

/// The JSON of one change, as the log stores it and the wire carries it:
/// `{"kind":…,"id":…,"document":{…}}`, without `document` for a deletion.
#[derive(Serialize, Deserialize)]
struct ChangeRecord<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    id: Uuid,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    document: Option<&'a RawValue>,
}

/// Why stored or received changes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// Not the JSON that was expected.
    #[error("changes are not valid")]
    Json(#[source] serde_json::Error),
    /// A kind that this binary does not have.
    #[error("unknown kind {0:?}")]
    UnknownKind(String),
    /// An entity that cannot be read.
    #[error("an entity in the changes is not valid")]
    Entity(#[source] EntityError),
    /// The id beside the document is not the id in it.
    #[error("{0}: the document carries another id")]
    IdMismatch(Key),
}

/// Returns the canonical JSON of changes.
pub fn encode_changes(changes: &[Change]) -> String {
    let records: Vec<_> = changes
        .iter()
        .map(|change| ChangeRecord {
            kind: change.key().kind.name().into(),
            id: change.key().id,
            document: match change {
                Change::Deleted(_) => None,
                Change::Upserted(entity) => {
                    Some(serde_json::from_str(entity.text()).expect("canonical bytes are JSON"))
                }
            },
        })
        .collect();
    serde_json::to_string(&records).expect("records of strings cannot fail to encode")
}

/// Reads what [`encode_changes`] wrote.
pub fn decode_changes(catalog: &Catalog, json: &str) -> Result<Vec<Change>, ChangesError> {
    let records: Vec<ChangeRecord<'_>> = serde_json::from_str(json).map_err(ChangesError::Json)?;
    records.into_iter().map(|record| decode_change(catalog, &record)).collect()
}

fn decode_change(catalog: &Catalog, record: &ChangeRecord<'_>) -> Result<Change, ChangesError> {
    let kind = catalog.kind(&record.kind);
    let kind = kind.ok_or_else(|| ChangesError::UnknownKind(record.kind.to_string()))?;
    let key = Key { kind, id: record.id };
    let Some(document) = record.document else { return Ok(Change::Deleted(key)) };
    let entity = Entity::parse(kind, document.get().as_bytes()).map_err(ChangesError::Entity)?;
    if entity.key() != key {
        return Err(ChangesError::IdMismatch(key));
    }
    Ok(Change::Upserted(entity))
}
