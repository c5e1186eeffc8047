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
/// The same, where clients of Kong look for it.
const ADMIN_REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-admin-request-id");
const LATENCY: HeaderName = HeaderName::from_static("x-kong-admin-latency");
const OUR_VERSION: HeaderName = HeaderName::from_static("x-hybridctl-version");

/// The type of JSON answers.
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// Returns a JSON answer.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    text(status, value.to_string(), JSON)
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

/// What the setting `headers` asks answers to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tells {
    /// How long they took.
    pub latency: bool,
    /// Which server gives them.
    pub server: bool,
}

impl Tells {
    /// Reads the setting, in lower case.
    pub fn read(headers: &[String]) -> Self {
        let named =
            |names: [&str; 2]| headers.iter().any(|header| names.contains(&header.as_str()));
        Self {
            latency: named(["latency_tokens", "x-kong-admin-latency"]),
            server: named(["server_tokens", "server"]),
        }
    }
}

/// Adds what every answer carries.
pub(super) fn sign(response: &mut Response, request_id: &str, tells: Tells, latency_ms: u128) {
    let headers = response.headers_mut();
    headers.insert(OUR_VERSION, HeaderValue::from_static(VERSION));
    headers.insert(REQUEST_ID, ascii(request_id));
    headers.insert(ADMIN_REQUEST_ID, ascii(request_id));
    if tells.server {
        headers.insert(SERVER, ascii(&format!("kong/{KONG_VERSION}")));
    }
    if tells.latency {
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
