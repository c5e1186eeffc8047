//! The cache, as Kong's clients ask for it: this node reads everything from memory and caches
//! nothing, so it is always empty (reference gateway-2, section B.6).

use axum::response::Response;
use http::{Method, StatusCode};

use super::call::Call;
use super::error::ApiError;
use super::reply;

/// Empties the cache.
pub(super) fn clear() -> Response {
    reply::empty(StatusCode::NO_CONTENT)
}

/// Shows or drops one entry.
pub(super) fn entry(call: &Call) -> Result<Response, ApiError> {
    match call.method {
        Method::DELETE => Ok(clear()),
        _ => Err(ApiError::NotFound),
    }
}
