//! The data planes of all control planes of the database (reference hybrid.md, section 8.5).

use std::sync::Arc;

use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::ApiError;
use super::list::{self, Page};
use super::{Admin, promotion, reply};
use crate::fleet::{DataPlaneRow, Fleet, Refused};
use crate::promotion::keeper::Keeper;

/// Returns one page of the data planes, in id order.
pub(super) fn data_planes(admin: &Admin, call: &Call) -> Result<Value, ApiError> {
    let fleet = fleet(admin)?;
    let (size, after) = (list::size(call)?, list::after(call)?);
    let now = admin.0.clock.now();
    let rows = fleet.rows(now).into_iter().filter(|row| after.is_none_or(|after| row.id > after));
    let page = Page::take(rows, size, |row| list::mark(row.id));
    let carried: Vec<_> = call.argument("size").map(|size| ("size", size)).into_iter().collect();
    Ok(page.answer("/clustering/data-planes", &carried, |row| {
        show(&row, now, admin.0.promotion.as_deref())
    }))
}

/// Returns the data planes by id, as Kong deprecated it.
pub(super) fn status(admin: &Admin) -> Result<Response, ApiError> {
    let rows: Map<_, _> = fleet(admin)?
        .rows(admin.0.clock.now())
        .into_iter()
        .map(|row| {
            let mut about = json!({
                "config_hash": row.config_hash,
                "hostname": row.hostname,
                "ip": row.ip,
                "last_seen": row.last_seen.timestamp(),
            });
            // Kong's columns alone, unless there is something to tell.
            if let Some(keeper) = &admin.0.promotion {
                let held = promotion::of_data_plane(keeper, &row);
                if !held["held_by"].is_null() {
                    about["held_by"] = held["held_by"].clone();
                    about["held_why"] = held["held_why"].clone();
                }
            }
            (row.id.to_string(), about)
        })
        .collect();
    let mut response = reply::json(StatusCode::OK, &Value::Object(rows));
    response.headers_mut().insert("deprecation", HeaderValue::from_static("true"));
    Ok(response)
}

fn fleet(admin: &Admin) -> Result<&Arc<Fleet>, ApiError> {
    admin.0.fleet.as_ref().ok_or_else(no_cluster)
}

/// Returns the refusal of a node that has no data planes.
pub(super) fn no_cluster() -> ApiError {
    ApiError::BadRequest(
        "this endpoint is only available when Kong is configured to run as Control Plane for the \
         cluster"
            .into(),
    )
}

/// Kong's columns, then ours.
fn show(row: &DataPlaneRow, now: DateTime<Utc>, keeper: Option<&Keeper>) -> Value {
    let mut shown = json!({
        "id": row.id,
        "ip": row.ip,
        "hostname": row.hostname,
        "version": row.version,
        "last_seen": row.last_seen.timestamp(),
        "ttl": row.seconds_left(now),
        "config_hash": row.config_hash,
        "sync_status": row.sync_status,
        "updated_at": row.updated_at.timestamp(),
        "labels": (!row.labels.is_empty()).then_some(&row.labels),
        "cert_details": row.cert_expires_at.map(|at| json!({"expiry_timestamp": at})),
        "rpc_capabilities": [],
        "applied_hash": row.applied_hash,
        "applied_seq": row.applied_seq,
        "rejected": row.rejected.as_ref().map(show_refused),
        "connected": row.connected,
        "control_plane": row.control_plane.as_ref().map(|it| json!({
            "node_id": it.node_id, "hostname": it.hostname,
        })),
        "dialect": row.dialect,
        "lag_ms": row.lag_ms,
    });
    if let (Some(keeper), Value::Object(columns)) = (keeper, &mut shown) {
        columns.extend(promotion::of_data_plane(keeper, row));
    }
    shown
}

fn show_refused(refused: &Refused) -> Value {
    json!({
        "hash": refused.config_hash,
        "phase": refused.phase,
        "entity": refused.entity,
        "pointer": refused.pointer,
        "reason": refused.reason,
    })
}
