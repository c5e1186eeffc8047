//! What changed between the config of the old runtime and the new one, by kind.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{CompileError, NodeTls};
use crate::domain::catalog::Referrer;
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Key, Kind};
use crate::domain::schema::OnDelete;

/// The entities that changed, and the config that they belong to.
pub(super) struct Changes<'c> {
    /// As they are after the changes.
    pub(super) config: &'c Config,
    by_kind: BTreeMap<Kind, Vec<Changed<'c>>>,
    /// What services have that name nothing of their own.
    pub(super) node: &'c NodeTls,
    /// Whether that is another than before.
    pub(super) has_other_node: bool,
}

/// One entity that was added, replaced or removed.
pub(super) struct Changed<'c> {
    /// Its id.
    pub(super) id: Uuid,
    /// As it was.
    pub(super) old: Option<&'c Entity>,
    /// As it is.
    pub(super) new: Option<&'c Entity>,
}

impl<'c> Changes<'c> {
    /// Compares two configs; the last is what the node has, and whether that has changed.
    pub(super) fn between(
        old: &'c Config,
        config: &'c Config,
        (node, has_other_node): (&'c NodeTls, bool),
    ) -> Self {
        let mut by_kind: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (old, new) in old.changed(config) {
            let Some(entity) = new.or(old) else { continue };
            let changed = Changed { id: entity.id(), old, new };
            by_kind.entry(entity.kind()).or_default().push(changed);
        }
        Self { config, by_kind, node, has_other_node }
    }

    /// Returns what changed of a kind, in id order.
    pub(super) fn of(&self, kind: Kind) -> &[Changed<'c>] {
        self.by_kind.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Returns the ids of the entities of a kind that refer to `target` through a field.
    pub(super) fn referring(
        &self,
        target: Key,
        kind: Kind,
        field: &'static str,
    ) -> impl Iterator<Item = &'c Entity> + use<'c> {
        let referrer = Referrer { kind, field, on_delete: OnDelete::Restrict };
        self.config.referring(target, referrer, None)
    }
}

/// A set of ids that grew out of changes.
pub(super) type Ids = BTreeSet<Uuid>;

/// Returns why an entity cannot be served.
pub(super) fn fault(key: Key, reason: impl Into<String>) -> CompileError {
    CompileError { entity: Some(key), reason: reason.into() }
}

/// Decodes an entity.
pub(super) fn decode<T: DeserializeOwned>(entity: &Entity) -> Result<T, CompileError> {
    entity.decode().map_err(|error| {
        // The decoder says where, and never quotes a value.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        fault(entity.key(), cause.unwrap_or_else(|| error.to_string()))
    })
}
