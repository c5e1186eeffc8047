//! Force: whoever means to take away more than half of the routes or services says so, by
//! `?force=1`, by the header `X-Change-Force: 1`, or where a body has members of its own by `force`.

use http::HeaderValue;
use serde_json::Value;

use super::call::Call;
use super::error::ApiError;
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;

/// The header, for tools that cannot touch the query.
pub(super) const NAME: &str = "x-change-force";

/// Returns whether a request asks for it. The query goes before the header, that before the body.
pub(super) fn is_asked(call: &Call, body: Option<&Document>) -> Result<bool, ApiError> {
    match call.argument("force") {
        None => {}
        Some("1" | "true" | "") => return Ok(true),
        Some("0" | "false") => return Ok(false),
        Some(_) => return Err(ApiError::option("force", "expected 1 or 0")),
    }
    match call.headers.get(NAME).map(HeaderValue::as_bytes) {
        None => {}
        Some(b"1" | b"true") => return Ok(true),
        Some(b"0" | b"false") => return Ok(false),
        Some(_) => return Err(ApiError::BadRequest("X-Change-Force: expected 1 or 0".into())),
    }
    match body.and_then(|body| body.get("force")) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(forced)) => Ok(*forced),
        Some(_) => Err(FieldErrors::one("force", "expected a boolean").into()),
    }
}
