//! Rollouts: the plan by which new heads go to data planes, and how far the last one got.

use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use super::show::describe_rollout;
use super::{body, decide, keeper};
use crate::admin::call::Call;
use crate::admin::error::ApiError;
use crate::admin::{Admin, reply};
use crate::domain::rejection::FieldErrors;
use crate::promotion::decision::Plan;
use crate::promotion::order;

/// Answers `GET /rollout`.
pub(in crate::admin) fn rollout(admin: &Admin) -> Result<Value, ApiError> {
    Ok(describe_rollout(&keeper(admin)?.view().state))
}

/// Answers `PUT /rollout`.
pub(in crate::admin) async fn plan(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    keeper(admin)?;
    let (mut body, reason) = body(call)?;
    body.remove("reason");
    let plan: Plan = serde_json::from_value(Value::Object(body))
        .map_err(|error| ApiError::from(FieldErrors::one("waves", error.to_string())))?;
    let order = |state: &_, newest| order::plan(state, newest, Some(plan.clone()));
    let (_, view) = decide(admin, call, reason, order).await?;
    Ok(reply::json(StatusCode::OK, &describe_rollout(&view.state)))
}

/// Answers `DELETE /rollout`.
pub(in crate::admin) async fn unplan(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    decide(admin, call, None, |state: &_, newest| order::plan(state, newest, None)).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
