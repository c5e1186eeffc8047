//! Writes that data planes could not get: entities that do not fit into one message.
//!
//! Content goes to data planes in nodes of the hash tree at the least, so the leaf that an entity is
//! in must fit. Whole configurations may be larger: they go in parts.

use std::fmt;

use crate::domain::entity::Key;
use crate::domain::event::Change;
use crate::snapshot::Snapshot;

/// An entity that would be sent in a message that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversize {
    key: Key,
    bytes: usize,
    bytes_max: usize,
}

impl Oversize {
    /// Returns the first entity that changes make or replace and that is not to be sent.
    pub(super) fn of(after: &Snapshot, changes: &[Change], bytes_max: usize) -> Option<Self> {
        changes.iter().find_map(|change| {
            let Change::Upserted(entity) = change else { return None };
            let key = entity.key();
            let bytes = after.tree().leaf_of(key).bytes_len();
            (bytes > bytes_max).then_some(Self { key, bytes, bytes_max })
        })
    }
}

impl fmt::Display for Oversize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, bytes, bytes_max } = self;
        write!(
            f,
            "{} {} would go to data planes in a message of {bytes} bytes, but cluster_max_payload \
             allows {bytes_max}",
            key.kind, key.id
        )
    }
}
