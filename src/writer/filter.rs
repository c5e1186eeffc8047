//! Filters over the events of the log: which of them somebody asks for.

use uuid::Uuid;

use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::difference;
use crate::domain::entity::Kind;
use crate::domain::event::{Change, Event, EventKind, Seq};
use crate::domain::hash::ConfigHash;
use crate::log::moment::HashPrefix;
use crate::log::row::{Row, RowError};

/// Which events. A field that is none lets every event through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// After this position.
    pub after: Seq,
    /// Before this position.
    pub before: Option<Seq>,
    /// Who wrote it.
    pub actor: Option<String>,
    /// Through what.
    pub source: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// The sort of write.
    pub sort: Option<EventKind>,
    /// How the hash of the config that it led to begins, or that of the event itself.
    pub hash: Option<HashPrefix>,
    /// One change of the event is of all of these.
    pub change: ChangeFilter,
}

/// Which changes. A field that is none lets every change through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Of entities of this kind.
    pub kind: Option<Kind>,
    /// Of the entity with this id.
    pub id: Option<Uuid>,
    /// Of entities that people call so, before or afterwards.
    pub name: Option<String>,
}

impl Filter {
    /// Returns whether the filter asks for names, which a deletion does not carry: then
    /// [`select`](Self::select) needs the config before the rows.
    pub fn needs_config(&self) -> bool {
        self.change.name.is_some()
    }

    /// Returns the events among rows that follow each other; `config` is the one before them, and
    /// afterwards the one after them.
    pub fn select(
        &self,
        catalog: &Catalog,
        mut config: Option<Config>,
        rows: &[Row],
    ) -> Result<Vec<Event>, RowError> {
        let mut events = Vec::new();
        for row in rows {
            let admitted = self.admits(row);
            if !admitted && config.is_none() {
                continue;
            }
            let event = row.event(catalog)?;
            let mut found = self.change == ChangeFilter::default();
            for change in &event.changes {
                found |= self.change.admits(change, config.as_ref());
                if let Some(config) = &mut config {
                    config.apply(catalog, change);
                }
            }
            if admitted && found {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Returns whether all but the changes of a row are as asked; sees to it that few rows are read
    /// in full.
    fn admits(&self, row: &Row) -> bool {
        let is = |wanted: &Option<String>, text: &String| {
            wanted.as_ref().is_none_or(|wanted| wanted == text)
        };
        row.seq > self.after
            && self.before.is_none_or(|before| row.seq < before)
            && is(&self.actor, &row.actor)
            && is(&self.source, &row.source)
            && is(&self.request_id, &row.request_id)
            && self.sort.is_none_or(|sort| sort.name() == row.kind)
            && self.hash.is_none_or(|hash| {
                hash.matches(row.config_hash) || hash.matches(ConfigHash(row.hash.0))
            })
            && self.change.may_be_in(&row.changes)
    }
}

impl ChangeFilter {
    /// Returns whether the text of changes may hold what is asked for.
    fn may_be_in(&self, changes: &str) -> bool {
        self.id.is_none_or(|id| changes.contains(&id.to_string()))
            && self.kind.is_none_or(|kind| changes.contains(kind.name()))
    }

    /// Returns whether a change is as asked; `before` is the config that it met.
    fn admits(&self, change: &Change, before: Option<&Config>) -> bool {
        let key = change.key();
        if self.kind.is_some_and(|kind| kind != key.kind) || self.id.is_some_and(|id| id != key.id)
        {
            return false;
        }
        let Some(name) = &self.name else { return true };
        let is_named = |entity| difference::name(entity).as_ref() == Some(name);
        let new = match change {
            Change::Upserted(entity) => Some(entity),
            Change::Deleted(_) => None,
        };
        new.is_some_and(is_named)
            || before.and_then(|config| config.find(key)).is_some_and(is_named)
    }
}
