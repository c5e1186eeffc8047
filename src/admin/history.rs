//! The log over HTTP: its events, and the return to an earlier config.

use serde_json::{Value, json};

use super::Admin;
use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::store::{self, EventPage};
use super::{list, reason};
use crate::domain::event::{Change, Event, EventKind, Seq};
use crate::domain::rejection::FieldErrors;

/// Returns one page of events: the newest first, or with `after` the oldest after a position.
pub(super) async fn events(admin: &Admin, call: &Call) -> Result<Value, ApiError> {
    let size = list::size(call)?;
    let page = match (call.argument("after"), call.argument("offset")) {
        (Some(after), _) => EventPage::After(seq(after)?),
        (None, Some(offset)) => EventPage::Before(seq(offset)?),
        (None, None) => EventPage::Before(Seq(u64::MAX)),
    };
    let events = admin.0.store.events(page, size.saturating_add(1)).await?;
    let argument = if matches!(page, EventPage::After(_)) { "after" } else { "offset" };
    let more = events.len() > size;
    let data: Vec<_> = events.iter().take(size).map(show).collect();
    let last = events.get(size.saturating_sub(1)).filter(|_| more).map(|event| event.seq);
    let Some(last) = last else { return Ok(json!({"data": data, "next": null})) };
    let mut next = format!("/events?{argument}={last}");
    if let Some(size) = call.argument("size") {
        next.push_str(&format!("&size={size}"));
    }
    Ok(json!({"data": data, "next": next, "offset": last.to_string()}))
}

fn seq(text: &str) -> Result<Seq, ApiError> {
    let wrong = |_| ApiError::offset(text, "expected the position of an event");
    text.parse().map(Seq).map_err(wrong)
}

/// An event without the documents, which may hold secrets.
fn show(event: &Event) -> Value {
    let changes: Vec<_> = event.changes.iter().map(show_change).collect();
    json!({
        "seq": event.seq,
        "at": event.at,
        "actor": event.origin.actor,
        "request_id": event.origin.request_id,
        "source": event.origin.source,
        "reason": event.origin.reason,
        "kind": event.origin.kind,
        "changes": changes,
        "config_hash": event.config_hash,
        "prev_hash": event.prev_hash,
        "hash": event.hash,
    })
}

fn show_change(change: &Change) -> Value {
    let verb = match change {
        Change::Deleted(_) => "deleted",
        Change::Upserted(_) => "upserted",
    };
    json!({"type": verb, "kind": change.key().kind.name(), "id": change.key().id})
}

/// Brings an earlier config back, as one more event.
pub(super) async fn rollback(admin: &Admin, call: &Call) -> Result<Value, ApiError> {
    let body = Body::read(call)?.into_plain();
    let to = match body.get("to") {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(seq)) => seq.to_string(),
        None | Some(Value::Null) => {
            return Err(FieldErrors::one("to", "required field missing").into());
        }
        Some(_) => {
            let text = "expected a position of the log or the beginning of a config_hash";
            return Err(FieldErrors::one("to", text).into());
        }
    };
    let mut origin = call.origin(EventKind::RolledBack)?;
    origin.reason = reason::of_body(&body)?.or(origin.reason);
    let before = admin.0.store.head().seq;
    let head = admin.0.store.rollback(call, origin, store::moment(&to)?).await?;
    Ok(json!({
        "seq": head.seq,
        "config_hash": head.config_hash,
        "changed": head.seq > before,
    }))
}
