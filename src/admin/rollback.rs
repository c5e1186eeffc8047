//! The return to an earlier config, as one more event.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::{Admin, difference, etag, force, reason, reply};
use crate::domain::event::EventKind;
use crate::domain::rejection::FieldErrors;
use crate::log::moment::{Moment, ParseMomentError};
use crate::writer;

/// Answers `POST /rollback`.
pub(super) async fn answer(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    let body = Body::read(call)?.into_plain();
    let to = moment("to", body.get("to"))?;
    let mut origin = call.origin(EventKind::RolledBack)?;
    origin.reason = reason::of_body(&body)?.or(origin.reason);
    let before = admin.0.store.head();
    let forced = force::is_asked(call, Some(&body))?;
    if difference::is_dry_run(call, &body)? {
        etag::check(call, before.config_hash)?;
        let then = admin.0.store.at(to).await?;
        let (now, then) = (before.snapshot.config(), then.snapshot.config());
        let changes = writer::rollback_changes(&admin.0.catalog, now, then)?;
        let body = difference::preview(&admin.0.catalog, &before, &changes).into();
        return Ok(etag::tag(reply::json(StatusCode::OK, &body), before.config_hash));
    }
    let head = admin.0.store.rollback((call, forced), origin, to).await?;
    let body = json!({
        "seq": head.seq,
        "config_hash": head.config_hash,
        "changed": head.seq > before.seq,
    });
    Ok(etag::tag(reply::json(StatusCode::OK, &body), head.config_hash))
}

/// Reads the moment that a member of a body names.
pub(super) fn moment(field: &'static str, to: Option<&Value>) -> Result<Moment, ApiError> {
    let wrong = |why: String| ApiError::from(FieldErrors::one(field, why));
    let text = match to {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(seq)) => seq.to_string(),
        None | Some(Value::Null) => return Err(wrong("required field missing".into())),
        Some(_) => return Err(wrong(ParseMomentError.to_string())),
    };
    text.parse().map_err(|error: ParseMomentError| wrong(error.to_string()))
}
