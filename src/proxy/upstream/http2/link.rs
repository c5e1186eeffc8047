//! One HTTP/2 connection to an upstream, and the places that requests have on it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::request::Outlet;
use crate::proxy::upstream::connection::Connection;
use crate::proxy::upstream::error::{UpstreamError, UpstreamErrorKind};
use crate::proxy::upstream::peer::{PeerAddress, PoolLimits, Timeouts};

/// Requests at once on one connection; beyond, another one is opened.
const STREAMS_MAX: usize = 100;

/// How much of one answer may wait for its client, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;

/// The same for all answers of a connection: enough that none waits for the clients of others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;

/// Longest list of headers, in bytes.
const HEADERS_MAX: u32 = 64 * 1024;

/// A connection. It closes once nobody refers to it and its last answer has ended.
pub(super) struct Link {
    sender: SendRequest<Outlet>,
    streams: Cell<usize>,
    /// How many the upstream allows.
    streams_max: Cell<usize>,
    requests: Cell<u64>,
    idle_since: Cell<Instant>,
    ended: Cell<bool>,
}

impl Link {
    /// Connects, through the TLS handshake where the peer speaks TLS.
    pub(super) async fn open(
        peer: &PeerAddress,
        timeouts: &Timeouts,
    ) -> Result<Rc<Self>, UpstreamError> {
        let Connection { stream, .. } = Connection::open(peer, timeouts).await?;
        let failed = |error| UpstreamError::caused(UpstreamErrorKind::Connect, false, error);
        let opened = Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(STREAMS_MAX)
            .max_header_list_size(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = opened.map_err(failed)?;
        let link = Rc::new(Self {
            sender,
            streams: Cell::new(0),
            streams_max: Cell::new(STREAMS_MAX),
            requests: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            ended: Cell::new(false),
        });
        let known: Weak<Self> = Rc::downgrade(&link);
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            let end = poll_fn(|cx| {
                let end = connection.as_mut().poll(cx);
                if let Some(link) = known.upgrade() {
                    link.streams_max.set(connection.current_max_send_streams().min(STREAMS_MAX));
                    link.ended.set(link.ended.get() || end.is_ready());
                }
                end
            });
            if let Err(error) = end.await {
                tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
            }
        });
        Ok(link)
    }

    /// Returns whether further requests may be sent, now or when others have ended.
    pub(super) fn takes_requests(&self, limits: &PoolLimits) -> bool {
        let worn = limits.requests_max > 0 && self.requests.get() >= limits.requests_max;
        let kept = limits.idle_max > 0 || self.streams.get() > 0;
        !self.ended.get() && !self.sender.is_closed() && !worn && kept
    }

    /// Returns whether a request can be sent at once.
    pub(super) fn has_room(&self) -> bool {
        // An upstream that allows none is asked all the same: waiting for it has a limit.
        !self.ended.get() && self.streams.get() < self.streams_max.get().max(1)
    }

    pub(super) fn has_served(&self) -> bool {
        self.requests.get() > 0
    }

    pub(super) fn is_expired(&self, limits: &PoolLimits, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.idle_since.get());
        self.streams.get() == 0 && idle >= limits.idle_timeout
    }
}

/// A place on a connection, held until the answer has ended.
pub(in crate::proxy::upstream) struct Ticket(Rc<Link>);

impl Ticket {
    pub(super) fn new(link: Rc<Link>) -> Self {
        link.streams.set(link.streams.get() + 1);
        link.requests.set(link.requests.get() + 1);
        Self(link)
    }

    /// Sends a request. The error tells whether the upstream may have begun to work on it.
    pub(super) fn send(
        &self,
        request: Request<Outlet>,
    ) -> impl Future<Output = Result<Response<Incoming>, UpstreamError>> + use<> {
        let link = self.0.clone();
        let answer = link.sender.clone().try_send_request(request);
        async move {
            answer.await.map_err(|mut failed| {
                let unsent = failed.take_message().is_some();
                let error = failed.into_error();
                if error.is_closed() || error.is_canceled() {
                    link.ended.set(true);
                }
                let sent = !(unsent || is_unprocessed(&error));
                UpstreamError::caused(UpstreamErrorKind::Closed, sent, error)
            })
        }
    }

    /// Lets the connection take no further requests.
    pub(super) fn retire(&self) {
        self.0.ended.set(true);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
    }
}

/// Returns whether the upstream promises that it did nothing for the request (RFC 9113, section
/// 8.7): it refused the stream, or went away before it came to it.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            let refused = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            let gone = h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR);
            return h2.is_remote() && (refused || gone);
        }
        source = cause.source();
    }
    false
}

/// Runs what hyper does beside the requests on the core that owns the connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
