//! Fields as they are decoded: what is said of the message, and what is said in headers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// What a name that begins with a colon says of a message (RFC 9113, section 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::listener::http2) enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    /// Which no request has.
    Status,
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy::listener::http2) enum Field {
    Pseudo(Pseudo, Bytes),
    Regular(HeaderName, HeaderValue),
    /// One that no message may have (RFC 9113, section 8.2.1).
    Malformed,
}

/// A name without a value.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Pseudo(Pseudo),
    Regular(HeaderName),
    Malformed,
}

impl Name {
    /// Reads a name: lower case, and of the pseudo ones those that exist.
    pub(super) fn read(text: &[u8]) -> Self {
        match text {
            b":method" => Self::Pseudo(Pseudo::Method),
            b":scheme" => Self::Pseudo(Pseudo::Scheme),
            b":authority" => Self::Pseudo(Pseudo::Authority),
            b":path" => Self::Pseudo(Pseudo::Path),
            b":status" => Self::Pseudo(Pseudo::Status),
            _ => HeaderName::from_lowercase(text).map_or(Self::Malformed, Self::Regular),
        }
    }

    /// Puts a value to the name.
    pub(super) fn with(self, value: Bytes, sensitive: bool) -> Field {
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if is_blank(value.first()) || is_blank(value.last()) {
            return Field::Malformed;
        }
        match self {
            Self::Pseudo(name) => Field::Pseudo(name, value),
            Self::Regular(name) => match HeaderValue::from_maybe_shared(value) {
                Ok(mut value) => {
                    value.set_sensitive(sensitive);
                    Field::Regular(name, value)
                }
                Err(_) => Field::Malformed,
            },
            Self::Malformed => Field::Malformed,
        }
    }
}

impl Field {
    pub(super) fn name(&self) -> Name {
        match self {
            Self::Pseudo(name, _) => Name::Pseudo(*name),
            Self::Regular(name, _) => Name::Regular(name.clone()),
            Self::Malformed => Name::Malformed,
        }
    }
}
