//! Filters over the events of the log, as a call asks for them.

use crate::admin::Admin;
use crate::admin::call::Call;
use crate::admin::error::ApiError;
use crate::domain::event::{EventKind, Seq};
use crate::log::moment::Moment;
use crate::writer::filter::{ChangeFilter, Filter};

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
pub(in crate::admin) async fn read(admin: &Admin, call: &Call) -> Result<Filter, ApiError> {
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
    let floor = admin.0.store.floor().await?;
    if let Some(after) = after {
        admin.0.store.expect_events(after).await?;
    }
    if let Some(since) = time(call, "since")? {
        // Whatever is not after the last event before that time.
        let earlier = since - chrono::Duration::microseconds(1);
        // What was moved to archives is told of by where the answer begins.
        let at = match admin.0.store.position(Moment::Time(earlier)).await {
            Err(ApiError::Gone(_)) => floor,
            at => at?,
        };
        after = after.max(Some(at));
    }
    if let Some(until) = time(call, "until")? {
        let end = match admin.0.store.position(Moment::Time(until)).await {
            Err(ApiError::Gone(_)) => floor.next(),
            at => at?.next(),
        };
        before = Some(before.map_or(end, |before| before.min(end)));
    }
    Ok(Filter {
        after: after.unwrap_or_default().max(floor),
        before,
        actor: text("actor"),
        source: text("source"),
        request_id: text("request_id"),
        hash: None,
        sort: call.argument("type").map(sort).transpose()?,
        change: ChangeFilter {
            kind: call.argument("kind").map(kind).transpose()?,
            id: call.argument("id").map(id).transpose()?,
            name: text("name"),
        },
    })
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
