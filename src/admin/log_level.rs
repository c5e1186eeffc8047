//! The level of the log, read and changed while the node runs (reference gateway-2, section B.6).

use std::time::Duration;

use serde_json::{Value, json};

use super::Admin;
use super::call::Call;
use super::error::ApiError;
use crate::telemetry::level::Level;

/// How long a change lasts unless the call says otherwise, in seconds; 0 is until the next change.
const TIMEOUT_SECONDS: f64 = 60.0;

/// Which nodes a change is for. One control plane has one node, so all mean the same here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// This node.
    Node,
    /// All nodes of a cluster without planes.
    Cluster,
    /// All control planes.
    ControlPlanes,
}

/// Returns the level in force.
pub(super) fn show(admin: &Admin) -> Value {
    json!({"message": format!("log level: {}", admin.0.log.level())})
}

/// Changes the level for a while.
pub(super) fn set(admin: &Admin, call: &Call, level: &str) -> Result<Value, ApiError> {
    if admin.0.options.database_off {
        let text = "cannot change log level when not using a database";
        return Err(ApiError::Unsupported { message: text.into(), code: None });
    }
    let wanted: Level =
        level.parse().map_err(|_| ApiError::BadRequest(format!("unknown log level: {level}")))?;
    let seconds = call.argument("timeout").and_then(|text| text.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| seconds.is_finite()).unwrap_or(TIMEOUT_SECONDS).ceil();
    if seconds < 0.0 {
        return Err(ApiError::BadRequest("timeout must be greater than or equal to 0".into()));
    }
    if admin.0.log.level() == wanted {
        return Ok(json!({"message": format!("log level is already {level}")}));
    }
    match seconds as u64 {
        0 => admin.0.log.set_level(wanted),
        seconds => admin.0.log.set_level_for(wanted, Duration::from_secs(seconds)),
    }
    tracing::warn!(%wanted, seconds, "the log level was changed over the Admin API");
    Ok(json!({"message": "log level changed"}))
}
