//! Filters over the events of the log: which of them a call asks for.

use uuid::Uuid;

use crate::admin::Admin;
use crate::admin::call::Call;
use crate::admin::error::ApiError;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::Kind;
use crate::domain::event::{Change, Event, EventKind, Seq};
use crate::log::moment::Moment;
use crate::log::row::{Row, RowError};

/// Which events. A field that is none lets every event through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::admin) struct Filter {
    /// After this position.
    pub(in crate::admin) after: Seq,
    /// Before this position.
    pub(in crate::admin) before: Option<Seq>,
    actor: Option<String>,
    source: Option<String>,
    request_id: Option<String>,
    /// The sort of write.
    sort: Option<EventKind>,
    /// One change of the event is of all of these.
    change: ChangeFilter,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ChangeFilter {
    kind: Option<Kind>,
    id: Option<Uuid>,
    name: Option<String>,
}

impl Filter {
    /// The arguments of a call that make its filter.
    pub(in crate::admin) const ARGUMENTS: &[&str] = &[
        "after",
        "before",
        "since",
        "until",
        "actor",
        "source",
        "request_id",
        "type",
        "kind",
        "id",
        "name",
    ];

    /// Reads the filter of a call.
    pub(in crate::admin) async fn read(admin: &Admin, call: &Call) -> Result<Self, ApiError> {
        let text = |name| call.argument(name).map(str::to_owned);
        let kind = |name: &str| {
            let unknown = || ApiError::option("kind", "no entities are of this kind");
            admin.0.catalog.kind(name).ok_or_else(unknown)
        };
        let id = |id: &str| id.parse().map_err(|_| ApiError::option("id", "expected a UUID"));
        let sort = |name: &str| {
            let unknown = || ApiError::option("type", "expected written, imported or rolled_back");
            EventKind::from_name(name).ok_or_else(unknown)
        };
        let (mut after, mut before) = (position(call, "after")?, position(call, "before")?);
        if let Some(since) = time(call, "since")? {
            // Whatever is not after the last event before that time.
            let earlier = since - chrono::Duration::microseconds(1);
            let at = admin.0.store.position(Moment::Time(earlier)).await?;
            after = after.max(Some(at));
        }
        if let Some(until) = time(call, "until")? {
            let end = admin.0.store.position(Moment::Time(until)).await?.next();
            before = Some(before.map_or(end, |before| before.min(end)));
        }
        Ok(Self {
            after: after.unwrap_or_default(),
            before,
            actor: text("actor"),
            source: text("source"),
            request_id: text("request_id"),
            sort: call.argument("type").map(sort).transpose()?,
            change: ChangeFilter {
                kind: call.argument("kind").map(kind).transpose()?,
                id: call.argument("id").map(id).transpose()?,
                name: text("name"),
            },
        })
    }

    /// Returns whether the filter asks for names, which a deletion does not carry: then
    /// [`select`](Self::select) needs the config before the rows.
    pub(in crate::admin) fn needs_config(&self) -> bool {
        self.change.name.is_some()
    }

    /// Returns the events among rows that follow each other; `config` is the one before them, and
    /// afterwards the one after them.
    pub(in crate::admin) fn select(
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
        let is_named = |entity| crate::domain::difference::name(entity).as_ref() == Some(name);
        let new = match change {
            Change::Upserted(entity) => Some(entity),
            Change::Deleted(_) => None,
        };
        new.is_some_and(is_named)
            || before.and_then(|config| config.find(key)).is_some_and(is_named)
    }
}

/// Reads a position of the log.
fn position(call: &Call, name: &'static str) -> Result<Option<Seq>, ApiError> {
    let wrong = |_| ApiError::option(name, "expected the position of an event");
    call.argument(name).map(|text| text.parse().map(Seq).map_err(wrong)).transpose()
}

fn time(
    call: &Call,
    name: &'static str,
) -> Result<Option<chrono::DateTime<chrono::Utc>>, ApiError> {
    let time = |text: &str| match text.parse() {
        Ok(Moment::Time(time)) => Ok(time),
        _ => Err(ApiError::option(name, "expected a time such as 2026-01-31T08:00:00Z")),
    };
    call.argument(name).map(time).transpose()
}
