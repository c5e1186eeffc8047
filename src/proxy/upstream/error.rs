//! Why an upstream did not answer, in the terms in which the gateway acts on it.

use std::fmt;
use std::io;

/// A boxed error of a body, as hyper wants it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The step of an exchange that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The TCP connection or the TLS handshake.
    Connect,
    /// One write of the request.
    Send,
    /// One read of the response.
    Read,
}

/// What went wrong; decides status, retry and health counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamErrorKind {
    /// No TCP connection: refused, unreachable, reset.
    Connect,
    /// The TLS handshake failed or the certificate was refused.
    Tls,
    /// A step exceeded its limit.
    Timeout(Step),
    /// The upstream closed or reset the connection before the whole response was there.
    Closed,
    /// What came is not a response.
    BadResponse,
    /// The request cannot be put into the protocol of the upstream.
    Unsendable,
    /// The client's request body broke off or stalled; not the upstream's fault.
    RequestBody,
}

/// A failed exchange with an upstream.
#[derive(Debug)]
pub struct UpstreamError {
    /// What went wrong.
    pub kind: UpstreamErrorKind,
    /// Whether any byte of the request may have reached the upstream.
    pub request_sent: bool,
    source: Option<BoxError>,
}

impl UpstreamError {
    /// Builds an error without an inner cause.
    pub fn new(kind: UpstreamErrorKind, request_sent: bool) -> Self {
        Self { kind, request_sent, source: None }
    }

    /// Builds an error with its cause.
    pub fn caused(
        kind: UpstreamErrorKind,
        request_sent: bool,
        source: impl Into<BoxError>,
    ) -> Self {
        Self { kind, request_sent, source: Some(source.into()) }
    }

    /// Returns whether a retry on another peer cannot do the work twice: nothing was sent, or the
    /// method is idempotent (nginx's rule; reference gateway-3, D.4).
    pub fn may_retry(&self, idempotent: bool) -> bool {
        let hopeless =
            matches!(self.kind, UpstreamErrorKind::RequestBody | UpstreamErrorKind::Unsendable);
        !hopeless && (idempotent || !self.request_sent)
    }

    pub(super) fn closed(request_sent: bool, source: io::Error) -> Self {
        Self::caused(UpstreamErrorKind::Closed, request_sent, source)
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.kind {
            UpstreamErrorKind::Connect => "cannot connect to the upstream",
            UpstreamErrorKind::Tls => "the tls handshake with the upstream failed",
            UpstreamErrorKind::Timeout(Step::Connect) => "the upstream took too long to connect",
            UpstreamErrorKind::Timeout(Step::Send) => "the upstream took too long to read",
            UpstreamErrorKind::Timeout(Step::Read) => "the upstream took too long to answer",
            UpstreamErrorKind::Closed => "the upstream closed the connection",
            UpstreamErrorKind::BadResponse => "the upstream sent an invalid response",
            UpstreamErrorKind::Unsendable => "the request is none that the upstream could be sent",
            UpstreamErrorKind::RequestBody => "the client's request body broke off",
        })
    }
}

impl std::error::Error for UpstreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
