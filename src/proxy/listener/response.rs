//! What a client is answered, in either version of HTTP.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::additions::Additions;
use super::body::ProxyBody;
use crate::headers::Headers;
use crate::headers::raw::RawHeaders;

/// An answer: its head and its body as it comes.
#[derive(Debug)]
pub struct ClientResponse {
    /// The status.
    pub status: StatusCode,
    /// What HTTP/1 calls the status, where that is not its usual name.
    pub reason: Option<Bytes>,
    /// Header lines of an upstream that are written as they are, before the headers.
    pub raw: Option<RawHeaders>,
    /// The headers. Framing is not theirs to tell: it follows from the body.
    pub headers: Headers,
    /// Headers of ours that are written behind them.
    pub additions: Additions,
    /// The body.
    pub body: ProxyBody,
}

impl ClientResponse {
    /// Makes an answer without headers.
    pub fn new(status: StatusCode, body: ProxyBody) -> Self {
        let (headers, additions) = (Headers::new(), Additions::default());
        Self { status, reason: None, raw: None, headers, additions, body }
    }

    /// Lists the lines among the headers.
    pub(super) fn list(&mut self) {
        if let Some(raw) = self.raw.take() {
            raw.list(&mut self.headers);
        }
    }

    /// Makes an answer of one line of text.
    pub(super) fn line(status: StatusCode, text: &str) -> Self {
        let mut response = Self::new(status, ProxyBody::Full(format!("{text}\n").into()));
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers.append(HeaderName::from_static("content-type"), plain);
        response
    }
}
