//! Quarantine: configs that a data plane crashed on, which nobody else gets.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::show::describe_quarantine;
use super::{decide, keeper};
use crate::admin::call::Call;
use crate::admin::error::ApiError;
use crate::admin::{Admin, reply};
use crate::promotion::order;

/// Answers `GET /quarantine`: all of them, as there are few.
pub(in crate::admin) fn quarantine(admin: &Admin) -> Result<Value, ApiError> {
    let view = keeper(admin)?.view();
    let kept: Vec<_> = view.state.quarantine.all().iter().map(describe_quarantine).collect();
    Ok(json!({"data": kept, "next": null}))
}

/// Answers `GET /quarantine/{hash}`.
pub(in crate::admin) fn quarantined(admin: &Admin, hash: &str) -> Result<Value, ApiError> {
    let view = keeper(admin)?.view();
    view.state.quarantine.find(hash).map(describe_quarantine).ok_or(ApiError::NotFound)
}

/// Answers `DELETE /quarantine/{hash}`: the config is announced again.
pub(in crate::admin) async fn release(
    admin: &Admin,
    call: &Call,
    hash: &str,
) -> Result<Response, ApiError> {
    let view = keeper(admin)?.view();
    let hash = view.state.quarantine.find(hash).ok_or(ApiError::NotFound)?.config_hash;
    decide(admin, call, None, |state: &_, _| order::release(state, hash)).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
