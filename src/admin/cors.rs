//! Cross-origin access: who may call from a browser, and the answer to OPTIONS
//! (reference gateway-2, section B.1; client-kong-manager.md).

use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS,
    ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::reply;

/// Headers of ours that a page may read: the name of the config, the id to find the event by.
const EXPOSED: &str = "ETag, X-Request-Id";

/// Adds the headers that let a page read the answer, errors included.
pub(super) fn admit(response: &mut Response, gui_origins: &[String], origin: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed(gui_origins, origin));
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.insert(VARY, HeaderValue::from_static("Origin"));
}

/// Returns the request's origin.
pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ORIGIN).cloned()
}

fn allowed(gui_origins: &[String], origin: Option<HeaderValue>) -> HeaderValue {
    let listed = |origin: &HeaderValue| gui_origins.iter().any(|known| origin == known.as_str());
    match (gui_origins.first(), origin) {
        (None, origin) => origin.unwrap_or(HeaderValue::from_static("*")),
        (Some(_), Some(origin)) if listed(&origin) => origin,
        (Some(first), _) => reply::ascii(first),
    }
}

/// Answers OPTIONS with the methods of a path, which are sorted.
pub(super) fn options(methods: &str, headers: &HeaderMap) -> Response {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let asked = asked.unwrap_or(HeaderValue::from_static("Content-Type"));
    response.headers_mut().insert(ALLOW, reply::ascii(methods));
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, reply::ascii(methods));
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, asked);
    response
}
