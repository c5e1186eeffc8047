//! What clients are answered when a request cannot go upstream or nothing comes back
//! (texts: reference gateway-3, section D.3).

use std::error::Error;

use http::StatusCode;
use http_body_util::LengthLimitError;

use super::listener::ClientBodyError;
use super::upstream::{UpstreamError, UpstreamErrorKind};
use crate::plugins::reply::Reply;

/// Returns the answer to a request whose tries all failed.
pub(super) fn of_tries(error: Option<&UpstreamError>) -> Reply {
    match error {
        Some(error) if error.kind == UpstreamErrorKind::RequestBody => {
            error.source().map_or_else(bad_request, of_body)
        }
        Some(error) => match status(error) {
            StatusCode::GATEWAY_TIMEOUT => {
                let message = "The upstream server is timing out";
                Reply::gateway(StatusCode::GATEWAY_TIMEOUT, message)
            }
            _ => bad_gateway(),
        },
        None => bad_gateway(),
    }
}

/// Returns the status that a failed try counts as (reference gateway-3, section E.2).
pub(super) fn status(error: &UpstreamError) -> StatusCode {
    match error.kind {
        UpstreamErrorKind::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Returns the answer to a request that no upstream could be asked.
pub(super) fn bad_gateway() -> Reply {
    let message = "An invalid response was received from the upstream server";
    Reply::gateway(StatusCode::BAD_GATEWAY, message)
}

fn bad_request() -> Reply {
    Reply::gateway(StatusCode::BAD_REQUEST, "Bad request")
}

/// Returns the answer to a request whose body broke off.
pub(super) fn of_body(error: &(dyn Error + 'static)) -> Reply {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Reply::gateway(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large");
        }
        if let Some(ClientBodyError::Silent(_)) = error.downcast_ref() {
            return Reply::gateway(StatusCode::REQUEST_TIMEOUT, "Request timeout");
        }
        cause = error.source();
    }
    bad_request()
}
