//! A request on its way into an HTTP/2 stream.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::proxy::upstream::error::{BoxError, UpstreamError, UpstreamErrorKind};
use crate::proxy::upstream::head::UpstreamHead;
use crate::proxy::upstream::request::RequestBody;

/// Writes a head in the terms of HTTP/2: method, scheme, authority and path are no headers, and
/// nothing concerns the connection.
pub(super) fn request(
    head: &UpstreamHead,
    tls: bool,
    body: Outlet,
) -> Result<Request<Outlet>, BoxError> {
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default();
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let method = Method::from_bytes(parts.next().unwrap_or_default())?;
    let target = parts.next().unwrap_or_default();
    let mut request = Request::new(body);
    let headers = request.headers_mut();
    let mut authority: &[u8] = b"";
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii_start();
        let name = HeaderName::from_bytes(name)?;
        match name {
            header::HOST => authority = value,
            header::CONNECTION | header::UPGRADE => {}
            name => {
                headers.append(name, HeaderValue::from_bytes(value)?);
            }
        }
    }
    let uri = Uri::builder().scheme(if tls { "https" } else { "http" });
    *request.uri_mut() = uri.authority(authority).path_and_query(target).build()?;
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

/// A body that a stream was lent, and what became of it.
pub(in crate::proxy::upstream) struct Lent {
    body: RefCell<RequestBody>,
    /// Of bytes in memory, whether they went.
    sent: Cell<bool>,
    error: RefCell<Option<BoxError>>,
    progress: Cell<Instant>,
}

impl Lent {
    pub(super) fn new(body: RequestBody) -> Self {
        Self {
            body: RefCell::new(body),
            sent: Cell::new(false),
            error: RefCell::default(),
            progress: Cell::new(Instant::now()),
        }
    }

    /// Returns when the last piece moved, in either direction.
    pub(super) fn progress(&self) -> Instant {
        self.progress.get()
    }

    /// Notes that a piece moved.
    pub(super) fn note(&self) {
        self.progress.set(Instant::now());
    }

    /// Takes the body back, whole or spent; the stream gets nothing more.
    pub(super) fn take_back(&self) -> RequestBody {
        let whole = match &*self.body.borrow() {
            RequestBody::Boxed(_) => !self.sent.get(),
            _ => true,
        };
        let body = self.body.replace(RequestBody::Spent);
        if whole { body } else { RequestBody::Spent }
    }

    /// Returns the client's fault, if the stream ended by it.
    pub(super) fn take_error(&self) -> Option<UpstreamError> {
        let error = self.error.borrow_mut().take()?;
        Some(UpstreamError::caused(UpstreamErrorKind::RequestBody, true, error))
    }
}

/// What the stream reads.
pub(super) struct Outlet(Rc<Lent>);

impl Outlet {
    pub(super) fn new(lent: Rc<Lent>) -> Self {
        Self(lent)
    }
}

impl Body for Outlet {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let lent = &self.0;
        let frame = match &mut *lent.body.borrow_mut() {
            RequestBody::Bytes(bytes) if !lent.sent.get() => Some(Ok(Frame::data(bytes.clone()))),
            RequestBody::Boxed(body) => {
                lent.sent.set(true);
                ready!(body.as_mut().poll_frame(cx))
            }
            RequestBody::None | RequestBody::Bytes(_) | RequestBody::Spent => None,
        };
        lent.sent.set(true);
        lent.note();
        Poll::Ready(match frame {
            Some(Err(error)) => {
                *lent.error.borrow_mut() = Some(error);
                Some(Err("the client's request body broke off".into()))
            }
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        match &*self.0.body.borrow() {
            RequestBody::None | RequestBody::Spent => true,
            RequestBody::Bytes(bytes) => bytes.is_empty() || self.0.sent.get(),
            RequestBody::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.0.body.borrow() {
            RequestBody::Bytes(bytes) if !self.0.sent.get() => {
                SizeHint::with_exact(bytes.len() as u64)
            }
            RequestBody::Boxed(body) => body.size_hint(),
            RequestBody::None | RequestBody::Bytes(_) | RequestBody::Spent => {
                SizeHint::with_exact(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_becomes_what_http2_has_instead() {
        let mut head = UpstreamHead::new(&Method::POST, "/pkg.Service/Call?x=1");
        head.append_own("host: ", b"up.test:50051");
        head.append_own("connection: ", b"keep-alive");
        head.append_own("te: ", b"trailers");
        head.append(b"x-empty", b"");
        head.append(b"x-twice", b"a: b");
        head.append(b"x-twice", b"c");
        let lent = Rc::new(Lent::new(RequestBody::None));
        let request = request(&head, true, Outlet::new(lent)).unwrap();
        assert_eq!(request.uri(), "https://up.test:50051/pkg.Service/Call?x=1");
        assert_eq!((request.method(), request.version()), (&Method::POST, Version::HTTP_2));
        let headers = request.headers();
        assert_eq!(headers.len(), 4, "{headers:?}");
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x-empty"], "");
        assert!(headers.get_all("x-twice").iter().eq(["a: b", "c"]));
    }
}
