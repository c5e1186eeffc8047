//! Requests that are answered without being served.

use http::StatusCode;

use crate::proxy::listener::response::ClientResponse;

/// Why a request is not served; a connection of HTTP/1 closes then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::listener) enum Refusal {
    /// It is malformed or ambiguous.
    Bad,
    /// Its head did not come in time.
    Late,
    /// Its client went away in the middle of it.
    Gone,
    /// The request line is too long.
    LineTooLong,
    /// The head is too long, or has too many headers.
    HeadTooLong,
    /// CONNECT and TRACE are nothing for a gateway.
    Method,
    /// It expects what we do not know.
    Expectation,
    /// Its transfer coding is unknown.
    Coding,
    /// Its version is none of HTTP/1.
    Version,
}

impl Refusal {
    /// Returns the answer.
    pub(in crate::proxy::listener) fn response(self) -> Box<ClientResponse> {
        let (status, message) = self.answer();
        ClientResponse::line(status, message).into()
    }

    /// Returns the status and the text of the answer.
    pub(super) fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Bad | Self::Gone => (StatusCode::BAD_REQUEST, "Bad request"),
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "Request timeout"),
            Self::LineTooLong => (StatusCode::URI_TOO_LONG, "URI too long"),
            Self::HeadTooLong => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request header or cookie too large")
            }
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::Expectation => (StatusCode::EXPECTATION_FAILED, "Expectation failed"),
            Self::Coding => (StatusCode::NOT_IMPLEMENTED, "Unknown transfer coding"),
            Self::Version => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP version not supported"),
        }
    }
}
