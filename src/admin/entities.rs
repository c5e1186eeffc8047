//! Requests for entities: reads go to `read`, writes are operations that the writer decides
//! (reference gateway-2, section B.2).

use axum::response::Response;
use http::Method;

use super::Admin;
use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::operation::{self, Operation};
use super::place::Place;
use super::read::{View, read};
use super::{etag, force, read_only, reply};
use crate::domain::canonical::Document;
use crate::domain::config::Config;
use crate::domain::decide::Fresh;
use crate::domain::event::EventKind;

/// Answers a request for entities.
pub(super) async fn answer(admin: &Admin, call: &Call, place: Place) -> Result<Response, ApiError> {
    match call.method {
        Method::GET | Method::HEAD => read(admin, call, &place).await,
        _ => write(admin, call, place).await,
    }
}

async fn write(admin: &Admin, call: &Call, place: Place) -> Result<Response, ApiError> {
    if call.argument("at").is_some() {
        return Err(ApiError::option("at", "only reads can go back; see POST /rollback"));
    }
    if call.argument("dry_run").is_some() {
        return Err(ApiError::option("dry_run", "only POST /batch and POST /rollback know it"));
    }
    let absent = etag::wants_absence(&call.headers)?;
    let read_only = admin.0.store.is_read_only();
    let refusal = match place.kind() {
        Some(kind) => read_only::refusal_of(&admin.0.catalog, &call.method, &place, kind),
        None => read_only::refusal(),
    };
    // A deletion has no body, whatever type a client says that it has.
    let body = match call.method {
        Method::DELETE => Body::of_json(Document::new()),
        _ => Body::read(call)?,
    };
    let operation = Operation::new(&call.method, place, body)?;
    let (status, catalog) = (operation.status(), admin.0.catalog.clone());
    let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
        if absent && operation.is_present(&catalog, config) {
            return Err(ApiError::Present);
        }
        let decided = operation.decide(&catalog, config, fresh)?;
        // Only a deletion of nothing passes.
        if read_only && decided.entity.is_some() {
            return Err(read_only::refusal());
        }
        let deprecated = operation.deprecated(&catalog, decided.entity.as_ref());
        Ok((decided.changes, (decided.entity, deprecated)))
    };
    let origin = call.origin(EventKind::Written)?;
    let forced = force::is_asked(call, None)?;
    let written = admin.0.store.write((call, forced), origin, decide).await;
    // The store refuses without knowing what a place is called.
    let ((entity, deprecated), head) = written.map_err(|error| match error {
        ApiError::Unsupported { .. } => refusal,
        error => error,
    })?;
    operation::say(&deprecated);
    let response = match entity {
        Some(entity) => reply::json(status, &View::of(admin, head.snapshot.config()).show(&entity)),
        None => reply::empty(status),
    };
    Ok(etag::tag(response, head.config_hash))
}
