//! Blame: which event last set each field of an entity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::history::{History, ReplayError};
use crate::domain::difference::{leaves, masked};
use crate::domain::entity::Key;
use crate::domain::event::{Change, Event, Seq};

/// Rows looked at in one step.
const PAGE_LEN: u32 = 1000;

/// A field, and the event that gave it the value it has.
#[derive(Clone, Debug)]
pub struct FieldBlame {
    /// The names that lead to the field, joined by dots.
    pub path: String,
    /// Its value, masked if it is a secret; none if the event took it away.
    pub value: Option<Value>,
    /// The event; none if it is before the log's first one, in an archive.
    pub event: Option<Arc<Event>>,
}

/// Why nobody can be blamed.
#[derive(Debug, thiserror::Error)]
pub enum BlameError {
    /// There never was such an entity up to then.
    #[error("no event up to {1} is about {0}")]
    Unknown(Key, Seq),
    /// The entity is gone.
    #[error("{key} is gone: event {seq} deleted it (see it as it was by `--at {before}`)")]
    Deleted {
        /// The entity.
        key: Key,
        /// The position of the event that deleted it.
        seq: Seq,
        /// The position before that.
        before: Seq,
    },
    /// The log cannot be read.
    #[error("cannot read the log")]
    Replay(#[from] ReplayError),
}

/// An entity as an event left it, or as the log begins with it.
struct Version {
    event: Option<Arc<Event>>,
    /// Its fields by path; none when it was deleted.
    fields: Option<BTreeMap<String, Value>>,
    /// The same as people may see them.
    shown: BTreeMap<String, Value>,
}

/// Returns which event last set each field of an entity, as it is at a position; or only those
/// of one field and what is within it.
///
/// # Errors
///
/// There is no such entity, or the log cannot be read.
pub async fn blame(
    history: &History,
    key: Key,
    at: Seq,
    field: Option<&str>,
) -> Result<Vec<FieldBlame>, BlameError> {
    let floor = history.floor().await.map_err(ReplayError::from)?;
    if at < floor {
        history.expect_events(at).await?;
    }
    let mut versions = Versions::new(history, key, floor, at);
    let newest = versions.older().await?.ok_or(BlameError::Unknown(key, at))?;
    let Some(fields) = &newest.fields else {
        let seq = newest.event.as_ref().map_or(floor, |event| event.seq);
        return Err(BlameError::Deleted { key, seq, before: Seq(seq.0.saturating_sub(1)) });
    };
    let values = newest.shown.clone();
    let mut open = wanted(fields, field);
    let mut blamed = Vec::new();
    let mut later = newest;
    while !open.is_empty() {
        let older = versions.older().await?;
        let known = older.as_ref().and_then(|older| older.fields.as_ref());
        let set: Vec<String> = open
            .iter()
            .filter(|path| match (known, &later.fields) {
                (Some(older), Some(later)) => older.get(*path) != later.get(*path),
                _ => true,
            })
            .cloned()
            .collect();
        for path in set {
            open.remove(&path);
            let value = values.get(&path).cloned();
            blamed.push(FieldBlame { path, value, event: later.event.clone() });
        }
        match older {
            Some(older) => later = older,
            None => break,
        }
    }
    blamed.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(blamed)
}

/// Returns the paths that are asked for. A field that is not there may have been.
fn wanted(fields: &BTreeMap<String, Value>, field: Option<&str>) -> BTreeSet<String> {
    let Some(field) = field else { return fields.keys().cloned().collect() };
    let within = |path: &&String| {
        path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let paths: BTreeSet<String> = fields.keys().filter(within).cloned().collect();
    if paths.is_empty() { BTreeSet::from([field.to_owned()]) } else { paths }
}

fn last_change(event: &Event, key: Key) -> Option<&Change> {
    event.changes.iter().rev().find(|change| change.key() == key)
}

/// The versions of an entity, newest first.
struct Versions<'h> {
    history: &'h History,
    key: Key,
    id: String,
    /// Those of the page that was read last, the newest at the end.
    page: Vec<Version>,
    /// What is before the page.
    end: Seq,
    /// What is before all pages.
    floor: Seq,
    /// Whether there may be a version at the floor.
    has_base: bool,
}

impl<'h> Versions<'h> {
    fn new(history: &'h History, key: Key, floor: Seq, end: Seq) -> Self {
        let (id, page, has_base) = (key.id.to_string(), Vec::new(), floor > Seq(0));
        Self { history, key, id, page, end, floor, has_base }
    }

    /// Returns the entity as the log begins with it.
    async fn base(&self) -> Result<Option<Version>, ReplayError> {
        let head = self.history.rebuild(self.floor, None).await?;
        let found = head.snapshot.config().find(self.key);
        Ok(found.map(|entity| Version {
            event: None,
            fields: Some(leaves(entity.document())),
            shown: masked(self.history.catalog(), entity),
        }))
    }

    async fn older(&mut self) -> Result<Option<Version>, ReplayError> {
        while self.page.is_empty() && self.end > self.floor {
            let start = Seq(self.end.0.saturating_sub(u64::from(PAGE_LEN))).max(self.floor);
            let len = u32::try_from(self.end.0 - start.0).unwrap_or(PAGE_LEN);
            for row in self.history.log().read(start, len).await? {
                if !row.changes.contains(&self.id) {
                    continue;
                }
                let event = Arc::new(row.event(self.history.catalog())?);
                let Some(change) = last_change(&event, self.key) else { continue };
                let (fields, shown) = match change {
                    Change::Upserted(entity) => {
                        let shown = masked(self.history.catalog(), entity);
                        (Some(leaves(entity.document())), shown)
                    }
                    Change::Deleted(_) => (None, BTreeMap::new()),
                };
                self.page.push(Version { event: Some(event), fields, shown });
            }
            self.end = start;
        }
        if self.page.is_empty() && std::mem::take(&mut self.has_base) {
            return self.base().await;
        }
        Ok(self.page.pop())
    }
}
