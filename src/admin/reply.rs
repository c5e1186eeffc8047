//! Answers: JSON bodies and the headers that every answer carries
//! (reference gateway-2, section B.1).

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, SERVER};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use serde_json::Value;

use super::VERSION;
use crate::settings::KONG_VERSION;

/// The id of a request, ours or the client's.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LATENCY: HeaderName = HeaderName::from_static("x-kong-admin-latency");
const OUR_VERSION: HeaderName = HeaderName::from_static("x-hybridctl-version");

/// Returns a JSON answer.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = text(status, value.to_string(), "application/json; charset=utf-8");
    *response.status_mut() = status;
    response
}

/// Returns an answer with a text of this type.
pub(super) fn text(status: StatusCode, text: String, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns an answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Adds what every answer carries.
pub(super) fn sign(response: &mut Response, request_id: &str, latency_ms: Option<u128>) {
    let headers = response.headers_mut();
    headers.insert(SERVER, ascii(&format!("kong/{KONG_VERSION}")));
    headers.insert(OUR_VERSION, HeaderValue::from_static(VERSION));
    headers.insert(REQUEST_ID, ascii(request_id));
    if let Some(latency_ms) = latency_ms {
        headers.insert(LATENCY, ascii(&latency_ms.to_string()));
    }
}

/// Drops the body of an answer to HEAD, keeping its length.
pub(super) fn behead(response: &mut Response) {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    *response.body_mut() = Body::empty();
}

/// A header value of text that is known to be printable; anything else is left out.
pub(super) fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
