//! Requests for entities: reads go to `read`, writes are operations that the writer decides
//! (reference gateway-2, section B.2).

use axum::response::Response;
use http::Method;

use super::Admin;
use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::place::Place;
use super::read::{View, read};
use super::{etag, reply};
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
    // Whatever comes with a deletion, nobody reads it.
    let body = match call.method {
        Method::DELETE => Body::default(),
        _ => Body::read(call)?,
    };
    let operation = Operation::new(&call.method, place, body)?;
    let (status, catalog) = (operation.status(), admin.0.catalog.clone());
    let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
        if absent && operation.is_present(&catalog, config) {
            return Err(ApiError::Present);
        }
        let decided = operation.decide(&catalog, config, fresh)?;
        Ok((decided.changes, decided.entity))
    };
    let origin = call.origin(EventKind::Written)?;
    let (entity, head) = admin.0.store.write(call, origin, decide).await?;
    let response = match entity {
        Some(entity) => reply::json(status, &View::of(admin, head.snapshot.config()).show(&entity)),
        None => reply::empty(status),
    };
    Ok(etag::tag(response, head.config_hash))
}
