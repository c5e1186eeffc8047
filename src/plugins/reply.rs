//! Answers that the gateway makes itself, before content negotiation.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// An answer instead of the upstream's.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those that every answer has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is sent.
    pub body: ReplyBody,
}

/// The body of a [`Reply`].
#[derive(Clone, Debug)]
pub enum ReplyBody {
    /// Nothing.
    Empty,
    /// A message, in the form that the client accepts, JSON when it does not say.
    Error(Cow<'static, str>),
    /// A message of Kong's nginx level: when the client does not say what it accepts, in the form
    /// of its own body or of `error_default_type`.
    Gateway(Cow<'static, str>),
    /// Just these bytes.
    Content {
        /// Their type.
        mime: HeaderValue,
        /// The bytes.
        bytes: Bytes,
    },
}

impl Reply {
    /// Makes an error with a negotiated body.
    pub fn error(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Error(message.into()) }
    }

    /// Makes an error of the gateway itself.
    pub fn gateway(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Gateway(message.into()) }
    }

    /// Makes an answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Empty }
    }

    /// Makes the answer to a request that a plugin failed on (reference gateway-3, section D.3).
    pub fn failure() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            headers: Vec::new(),
            body: ReplyBody::Content {
                mime: HeaderValue::from_static("application/json; charset=utf-8"),
                bytes: Bytes::from_static(br#"{"message":"An unexpected error occurred"}"#),
            },
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}
