//! What a client asks, in either version of HTTP.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::http1::{Http1Body, Wire};
use super::http2::Http2Body;
use super::stream::ClientStream;
use crate::headers::RequestHead;
use crate::proxy::ahead::ReadAhead;
use crate::proxy::upstream::BoxError;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum ClientBodyError {
    /// The client closed, or its connection broke.
    #[error("the client went away in the middle of its body")]
    Gone(#[source] io::Error),
    /// The client stopped sending.
    #[error("the client sent nothing of its body for {} s", .0.as_secs())]
    Silent(Duration),
    /// The body is not in the coding that was announced.
    #[error("the client's body is malformed")]
    Malformed(#[source] BoxError),
    /// An earlier error ended the body.
    #[error("the client's body has broken off")]
    Broken,
}

/// A request: its head, its body as it comes, and a way to take over its connection.
pub struct ClientRequest {
    /// Method, target, version and headers. The target of HTTP/1 is a path with its query; a host
    /// that was named in the target is the Host header.
    pub head: Box<RequestHead>,
    /// The body.
    pub body: ClientBody,
    wire: Option<Rc<RefCell<Wire>>>,
}

impl ClientRequest {
    pub(super) fn http1(head: Box<RequestHead>, body: ClientBody, wire: Rc<RefCell<Wire>>) -> Self {
        Self { head, body, wire: Some(wire) }
    }

    pub(super) fn http2(head: Box<RequestHead>, body: ClientBody) -> Self {
        Self { head, body, wire: None }
    }

    /// Returns the connection to come: it is handed over once an answer with status 101 has been
    /// sent, which only HTTP/1.1 has.
    pub(in crate::proxy) fn on_upgrade(&self) -> Option<oneshot::Receiver<UpgradedClient>> {
        let (sender, receiver) = oneshot::channel();
        self.wire.as_ref()?.borrow_mut().upgrade = Some(sender);
        Some(receiver)
    }
}

/// The body of a request as it comes from the client.
pub enum ClientBody {
    /// There is none.
    Empty,
    /// A body of HTTP/1.
    Http1(Http1Body),
    /// A body of HTTP/2.
    Http2(Http2Body),
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => body.poll_frame(cx).map_err(BoxError::from),
            Self::Http2(body) => body.poll_frame(cx).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end(),
            Self::Http2(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.length().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(body) => body.length().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// A client's connection after a protocol switch, with the bytes that came behind the request.
pub(in crate::proxy) type UpgradedClient = ReadAhead<ClientStream>;
