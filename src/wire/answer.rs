//! Answers on the cluster listener.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers with a status and nothing else.
pub(super) fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// What nginx answers to whoever has no good certificate; the connection ends with it.
pub(super) fn refusal() -> Answer {
    let mut answer = plain(StatusCode::BAD_REQUEST);
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Content under its hash never changes, so any cache may keep it.
pub(super) fn immutable(content: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(content));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, forever);
    answer
}
