//! The log over HTTP: pages of its events, and one event in full.

pub(super) mod filter;
pub(super) mod follow;

use serde_json::{Value, json};

use super::Admin;
use super::call::Call;
use super::difference;
use super::error::ApiError;
use super::list;
use crate::domain::difference::name;
use crate::domain::event::{Change, Event, Seq};
use crate::log::moment::Moment;
use crate::writer::filter::Filter;

/// Most events that are looked at for one page. A page that was not filled by then says where to
/// go on, even when it is empty.
const LOOKED_AT_MAX: u64 = 20_000;

/// Most events that are read at once.
const CHUNK_LEN: u64 = 1000;

/// Most changes that a list spells out of one event.
const CHANGES_LEN: usize = 100;

/// Which way a list goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

/// Returns one page of events, the newest first unless the call says otherwise.
pub(super) async fn list(admin: &Admin, call: &Call) -> Result<Value, ApiError> {
    let size = list::size(call)?;
    let mut filter = filter::read(admin, call).await?;
    let order = match (call.argument("order"), call.argument("after")) {
        (Some("newest"), _) | (None, None) => Order::NewestFirst,
        (Some("oldest"), _) | (None, Some(_)) => Order::OldestFirst,
        (Some(_), _) => return Err(ApiError::option("order", "expected newest or oldest")),
    };
    if let Some(offset) = offset(call)? {
        match order {
            Order::OldestFirst => {
                admin.0.store.expect_events(offset).await?;
                filter.after = filter.after.max(offset);
            }
            Order::NewestFirst => {
                filter.before = Some(filter.before.map_or(offset, |before| before.min(offset)));
            }
        }
    }
    let (mut events, mut next) = scan(admin, &filter, order, size).await?;
    if events.len() > size {
        events.truncate(size);
        next = events.last().map(|event| event.seq);
    }
    let data: Vec<_> = events.iter().map(show).collect();
    let Some(next) = next else {
        let mut page = json!({"data": data, "next": null});
        match admin.0.store.floor().await? {
            Seq(0) => {}
            // What is before it is in archives.
            floor => page["oldest"] = floor.next().0.into(),
        }
        return Ok(page);
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("offset", &next.to_string());
    let carried = ["size", "order"].iter().chain(filter::ARGUMENTS);
    query.extend_pairs(carried.filter_map(|name| Some((name, call.argument(name)?))));
    let path = format!("/events?{}", query.finish());
    Ok(json!({"data": data, "next": path, "offset": next.to_string()}))
}

fn offset(call: &Call) -> Result<Option<Seq>, ApiError> {
    let Some(text) = call.argument("offset") else { return Ok(None) };
    let wrong = |_| ApiError::offset(text, "expected the position of an event");
    text.parse().map(|seq| Some(Seq(seq))).map_err(wrong)
}

/// Returns more than `size` events if there are more, and where to go on if not all were looked at.
async fn scan(
    admin: &Admin,
    filter: &Filter,
    order: Order,
    size: usize,
) -> Result<(Vec<Event>, Option<Seq>), ApiError> {
    let end = admin.0.store.head().seq.next();
    let mut end = filter.before.map_or(end, |before| before.min(end));
    let (mut after, mut events, mut looked_at) = (filter.after, Vec::new(), 0);
    while after.next() < end && events.len() <= size {
        if looked_at >= LOOKED_AT_MAX {
            let next = if order == Order::NewestFirst { end } else { after };
            return Ok((events, Some(next)));
        }
        let len = (end.0 - after.0 - 1).min(CHUNK_LEN);
        let start = match order {
            Order::OldestFirst => after,
            Order::NewestFirst => Seq(end.0 - 1 - len),
        };
        let mut found = admin.0.store.select(filter, start, len).await?;
        match order {
            Order::OldestFirst => after = Seq(start.0 + len),
            Order::NewestFirst => {
                found.reverse();
                end = start.next();
            }
        }
        events.append(&mut found);
        looked_at += len;
    }
    Ok((events, None))
}

/// An event without the documents, which may hold secrets.
pub(super) fn show(event: &Event) -> Value {
    let changes: Vec<_> = event.changes.iter().take(CHANGES_LEN).map(show_change).collect();
    let mut shown = about(event);
    shown["changes"] = changes.into();
    shown
}

fn about(event: &Event) -> Value {
    json!({
        "seq": event.seq,
        "at": event.at,
        "actor": event.origin.actor,
        "request_id": event.origin.request_id,
        "source": event.origin.source,
        "reason": event.origin.reason,
        "kind": event.origin.kind,
        "changes_total": event.changes.len(),
        "config_hash": event.config_hash,
        "prev_hash": event.prev_hash,
        "hash": event.hash,
    })
}

fn show_change(change: &Change) -> Value {
    let (verb, name) = match change {
        Change::Deleted(_) => ("deleted", None),
        Change::Upserted(entity) => ("upserted", name(entity)),
    };
    json!({"type": verb, "kind": change.key().kind.name(), "id": change.key().id, "name": name})
}

/// Returns one event with what it did to each entity, field by field.
pub(super) async fn one(admin: &Admin, seq: &str) -> Result<Value, ApiError> {
    let seq: u64 = seq.parse().map_err(|_| ApiError::NotFound)?;
    let before = Seq(seq.checked_sub(1).ok_or(ApiError::NotFound)?);
    let events = admin.0.store.events(before, 1).await?;
    let event = events.first().ok_or(ApiError::NotFound)?;
    let mut config = admin.0.store.at(Moment::Seq(before)).await?.snapshot.config().clone();
    let catalog = &admin.0.catalog;
    let changes = event.changes.iter().take(difference::PREVIEW_LEN).map(|change| {
        let shown = difference::show(catalog, &config, change);
        config.apply(catalog, change);
        shown
    });
    let mut shown = about(event);
    shown["changes"] = changes.collect();
    Ok(shown)
}
