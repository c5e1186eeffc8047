//! The freeze: writes go on, and nothing newer is announced to data planes.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::show::describe_freeze;
use super::{body, decide, keeper, position};
use crate::admin::call::Call;
use crate::admin::error::ApiError;
use crate::admin::{Admin, reply};
use crate::promotion::decision::Position;
use crate::promotion::order;
use crate::promotion::view::View;

/// Answers `POST /freeze`.
pub(in crate::admin) async fn freeze(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    keeper(admin)?;
    let (body, reason) = body(call)?;
    let at = match body.get("at") {
        None | Some(Value::Null) => None,
        Some(at) => Some(position(admin, "at", at).await?),
    };
    let order = |state: &_, newest| order::freeze(state, newest, at);
    let (changed, view) = decide(admin, call, reason, order).await?;
    Ok(answer(admin, &view, changed))
}

/// Answers `POST /unfreeze`.
pub(in crate::admin) async fn unfreeze(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    keeper(admin)?;
    let (_, reason) = body(call)?;
    let order = |state: &_, _| Ok(order::unfreeze(state));
    let (changed, view) = decide(admin, call, reason, order).await?;
    Ok(answer(admin, &view, changed))
}

/// Answers `GET /freeze`.
pub(in crate::admin) fn frozen(admin: &Admin) -> Result<Value, ApiError> {
    let view = keeper(admin)?.view();
    Ok(describe_freeze(&view.state, Position::of(&admin.0.store.head())))
}

fn answer(admin: &Admin, view: &View, changed: bool) -> Response {
    let mut body = describe_freeze(&view.state, Position::of(&admin.0.store.head()));
    body["changed"] = json!(changed);
    reply::json(StatusCode::OK, &body)
}
