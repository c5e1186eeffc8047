//! How long entities live: kinds with `ttl`, whose entities end by themselves
//! (reference gateway-1, section A.8).
//!
//! A document keeps `ttl` as the seconds between its `created_at` and its end, so that it says the
//! same at any time; clients send and see what remains from now on. An entity whose time is over
//! is no longer shown and gives way to others; it stays in the config until something replaces it.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::canonical::Document;
use super::entity::Entity;
use super::rejection::Rejection;
use super::schema::Schema;

/// The field.
pub const FIELD: &str = "ttl";

/// The longest time that a client may ask for, in seconds.
const TTL_MAX: i64 = 100_000_000;

/// Takes what a client asked for out of a body; none if it said nothing, zero for no end.
pub(super) fn take(schema: &Schema, body: &mut Document) -> Result<Option<i64>, Rejection> {
    if !schema.ttl {
        return Ok(None);
    }
    let asked = match body.remove(FIELD) {
        None => return Ok(None),
        Some(Value::Null) => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => whole(&value),
    };
    match asked {
        Some(seconds) if (0..=TTL_MAX).contains(&seconds) => Ok(Some(seconds)),
        _ => Err(Rejection::Option {
            name: FIELD,
            error: format!("must be an integer between 0 and {TTL_MAX}"),
        }),
    }
}

/// Puts what a client asked for into a document, counted from now.
pub(super) fn put(document: &mut Document, seconds: Option<i64>, at: DateTime<Utc>) {
    match seconds {
        None => {}
        Some(0) => drop(document.remove(FIELD)),
        Some(seconds) => {
            let age = at.timestamp().saturating_sub(created_at(document).unwrap_or_default());
            document.insert(FIELD.into(), seconds.saturating_add(age).into());
        }
    }
}

/// Returns whether an entity's time is over.
pub fn is_over(schema: &Schema, entity: &Entity, at: DateTime<Utc>) -> bool {
    schema.ttl && remaining(&entity.document(), at).is_some_and(|seconds| seconds <= 0)
}

/// Puts the second since 1970 at which an entity ends in the place of those since creation, as
/// Kong's control planes send it (reference hybrid.md, section 8.3).
pub fn put_end(document: &mut Document) {
    let ttl = document.get(FIELD).and_then(whole).filter(|ttl| *ttl > 0);
    if let Some((ttl, created_at)) = ttl.zip(created_at(document)) {
        document.insert(FIELD.into(), created_at.saturating_add(ttl).into());
    }
}

/// Undoes [`put_end`]. What no end can be is what remains from now on, as control planes before
/// Kong 3.4.1 send it.
pub(super) fn take_end(document: &mut Document, at: DateTime<Utc>) {
    let Some(sent) = document.get(FIELD).and_then(whole) else { return };
    let end = match sent > TTL_MAX {
        true => sent,
        false => at.timestamp().saturating_add(sent),
    };
    if let Some(created_at) = created_at(document) {
        // Zero would be no end at all.
        document.insert(FIELD.into(), end.saturating_sub(created_at).max(1).into());
    }
}

/// Puts the seconds that remain in the place of those since creation.
pub(super) fn show(document: &mut Document, at: DateTime<Utc>) {
    let remaining = remaining(document, at).map_or(Value::Null, |seconds| seconds.max(0).into());
    document.insert(FIELD.into(), remaining);
}

fn remaining(document: &Document, at: DateTime<Utc>) -> Option<i64> {
    let ttl = document.get(FIELD).and_then(whole).filter(|ttl| *ttl > 0)?;
    Some(created_at(document)?.saturating_add(ttl).saturating_sub(at.timestamp()))
}

fn created_at(document: &Document) -> Option<i64> {
    document.get("created_at").and_then(whole)
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let float = value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15)?;
        Some(float as i64)
    })
}

#[cfg(test)]
mod tests;
