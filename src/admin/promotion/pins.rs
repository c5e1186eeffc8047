//! Pins: data planes that get one config, whatever the head is.

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::show::describe_pin;
use super::{body, decide, keeper, position};
use crate::admin::call::Call;
use crate::admin::error::ApiError;
use crate::admin::{Admin, reply};
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;
use crate::promotion::decision::Selector;
use crate::promotion::order;

/// Answers `GET /pins`: all of them, as there are few.
pub(in crate::admin) fn list(admin: &Admin) -> Result<Value, ApiError> {
    let view = keeper(admin)?.view();
    let pins: Vec<_> = view.state.pins.values().map(describe_pin).collect();
    Ok(json!({"data": pins, "next": null}))
}

/// Answers `GET /pins/{id}`.
pub(in crate::admin) fn one(admin: &Admin, id: &str) -> Result<Value, ApiError> {
    let view = keeper(admin)?.view();
    let pin = id.parse().ok().and_then(|id: u64| view.state.pins.get(&id));
    pin.map(describe_pin).ok_or(ApiError::NotFound)
}

/// Answers `POST /pins`: 201 for a new pin, 200 for one that is there.
pub(in crate::admin) async fn set(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    keeper(admin)?;
    let (body, reason) = body(call)?;
    let who = selector(&body)?;
    let to = position(admin, "to", body.get("to").unwrap_or(&Value::Null)).await?;
    let order = |state: &_, _| order::pin(state, who.clone(), to);
    let (changed, view) = decide(admin, call, reason, order).await?;
    let pin = view.state.pins.values().find(|pin| pin.who == who).ok_or(ApiError::Unexpected)?;
    let status = if changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok(reply::json(status, &describe_pin(pin)))
}

/// Answers `DELETE /pins/{id}`.
pub(in crate::admin) async fn remove(
    admin: &Admin,
    call: &Call,
    id: &str,
) -> Result<Response, ApiError> {
    let id = id.parse().map_err(|_| ApiError::NotFound)?;
    decide(admin, call, None, |state: &_, _| order::unpin(state, id)).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn selector(body: &Document) -> Result<Selector, ApiError> {
    let wrong = |field: &'static str, why: &str| ApiError::from(FieldErrors::one(field, why));
    let given = |name| body.get(name).filter(|value: &&Value| !value.is_null());
    match (given("node_id"), given("labels")) {
        (Some(Value::String(id)), None) => {
            id.parse().map(Selector::NodeId).map_err(|_| wrong("node_id", "expected a UUID"))
        }
        (Some(_), None) => Err(wrong("node_id", "expected a UUID")),
        (None, Some(labels)) => read_labels(labels)
            .map(Selector::Labels)
            .ok_or_else(|| wrong("labels", "expected an object of strings")),
        (Some(_), Some(_)) => Err(wrong("labels", "node_id names one data plane already")),
        (None, None) => Err(wrong("node_id", "node_id or labels is required")),
    }
}

fn read_labels(labels: &Value) -> Option<BTreeMap<String, String>> {
    match labels {
        Value::String(text) => order::parse_labels(text).ok(),
        labels => serde_json::from_value(labels.clone()).ok(),
    }
}
