//! Idle connections of one proxy core, and the door of this module: [`Pool::send`].

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use http::{StatusCode, Version};
use tokio::time::Instant;

use super::body::UpstreamBody;
use super::connection::Connection;
use super::error::{UpstreamError, UpstreamErrorKind};
use super::exchange::Exchange;
use super::head::UpstreamHead;
use super::http2::{Http2Answer, Links};
use super::peer::{PeerAddress, PeerKey, PoolLimits, Timeouts};
use super::request::RequestBody;
use super::response::ResponseHead;
use super::stream::UpgradedStream;
use crate::clock::turn;
use crate::plugins::exchange::ResponseHead as AnswerHead;

/// The connections of one core to all its upstreams. Clones share them; nothing is locked.
#[derive(Clone)]
pub struct Pool {
    shared: Rc<Shared>,
}

struct Shared {
    limits: PoolLimits,
    http2: Links,
    // The keys are peers of our own configuration: nobody can choose them to collide.
    idle: RefCell<HashMap<PeerKey, VecDeque<Idle>, foldhash::fast::RandomState>>,
    swept: Cell<Instant>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

/// An upstream's answer; the body follows as it comes.
///
/// Headers are as the upstream sent them, hop-by-hop ones included, except that the framing of a
/// chunked response is taken off.
#[derive(Debug)]
pub struct UpstreamResponse {
    /// Status and headers.
    pub head: Box<AnswerHead>,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Reason phrase where it is not the usual one.
    pub reason: Option<Bytes>,
    /// Whether there are any headers that concern this connection only.
    pub hop_by_hop: bool,
    /// Body.
    pub body: UpstreamBody,
    /// Whether the connection had served a request before.
    pub reused: bool,
    upgraded: Option<Box<UpgradedStream>>,
}

impl UpstreamResponse {
    /// Takes the raw stream of a 101 answer, with what the upstream already sent on it.
    pub(in crate::proxy) fn take_upgraded(&mut self) -> Option<Box<UpgradedStream>> {
        self.upgraded.take()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pool").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl Pool {
    /// Makes an empty pool for the runtime of the calling thread.
    pub fn new(limits: PoolLimits) -> Self {
        let (http2, idle) = (Links::default(), RefCell::default());
        let shared = Shared { limits, http2, idle, swept: Cell::new(Instant::now()) };
        Self { shared: Rc::new(shared) }
    }

    /// Sends a request to `peer` and awaits the head of its answer.
    ///
    /// A kept connection that turns out dead before any byte of an answer is replaced by a fresh
    /// one, once, if the request may be repeated. Other retries are the caller's:
    /// [`UpstreamError::may_retry`] and [`RequestBody::is_replayable`] say whether they are safe.
    pub async fn send(
        &self,
        peer: &PeerAddress,
        head: &mut UpstreamHead,
        body: &mut RequestBody,
        timeouts: Timeouts,
    ) -> Result<UpstreamResponse, UpstreamError> {
        if !body.is_replayable() {
            let spent = "it was already sent in part to another peer";
            return Err(UpstreamError::caused(UpstreamErrorKind::RequestBody, false, spent));
        }
        if peer.http2 {
            return Box::pin(self.send_http2(peer, head, body, timeouts)).await;
        }
        let key = PeerKey::from(peer);
        if let Some(connection) = self.check_out(&key) {
            let mut exchange = Exchange::new(connection, head, body.lend(), timeouts);
            match exchange.run().await {
                Ok(answer) => return Ok(self.respond(exchange, answer, timeouts)),
                Err(error) => {
                    let stale = error.kind == UpstreamErrorKind::Closed && !exchange.received;
                    drop(exchange);
                    let repeatable = error.may_retry(head.is_idempotent());
                    if !(stale && repeatable && body.is_replayable()) {
                        return Err(error);
                    }
                }
            }
        }
        // Boxed, as are other rare ways: what they hold would be part of every request's future.
        Box::pin(self.send_anew(peer, key, head, body, timeouts)).await
    }

    /// Sends a request on a connection of its own.
    async fn send_anew(
        &self,
        peer: &PeerAddress,
        key: PeerKey,
        head: &mut UpstreamHead,
        body: &mut RequestBody,
        timeouts: Timeouts,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let connection = Box::new(Connection::open(peer, key, &timeouts).await?);
        let mut exchange = Exchange::new(connection, head, body.lend(), timeouts);
        let answer = exchange.run().await?;
        Ok(self.respond(exchange, answer, timeouts))
    }

    /// Sends a request on one of many streams of a connection.
    async fn send_http2(
        &self,
        peer: &PeerAddress,
        head: &UpstreamHead,
        body: &mut RequestBody,
        timeouts: Timeouts,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let Shared { http2, limits, .. } = &*self.shared;
        let answer = http2.send(peer, head, body, timeouts, limits).await?;
        let Http2Answer { response, ticket, lent, reused } = answer;
        let (head, incoming) = response.into_parts();
        let (status, headers) = (head.status, head.headers.into());
        Ok(UpstreamResponse {
            head: Box::new(AnswerHead { status, headers, raw: None, from_upstream: true }),
            version: head.version,
            reason: None,
            hop_by_hop: false,
            body: UpstreamBody::http2(incoming, lent, timeouts.read(), ticket),
            reused,
            upgraded: None,
        })
    }

    /// Returns how many HTTP/2 connections there are.
    pub fn http2_count(&self) -> usize {
        self.shared.http2.count()
    }

    /// Returns how many connections are idle.
    pub fn idle_count(&self) -> usize {
        self.shared.idle.borrow().values().map(VecDeque::len).sum()
    }

    /// Closes the connections that were idle for too long, or that their upstream closed.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.shared.swept.set(now);
        self.shared.http2.sweep(&self.shared.limits);
        self.shared.idle.borrow_mut().retain(|_, list| {
            list.retain_mut(|idle| {
                !self.is_expired(idle, now) && idle.connection.stream.is_quiet()
            });
            !list.is_empty()
        });
    }

    /// Sweeps on and on while the pool is in use, for the times without traffic.
    pub async fn sweep_until_dropped(self) {
        let every = self.shared.limits.idle_timeout / 2;
        let shared: Weak<Shared> = Rc::downgrade(&self.shared);
        drop(self);
        loop {
            tokio::time::sleep(every.max(std::time::Duration::from_millis(100))).await;
            let Some(shared) = shared.upgrade() else { return };
            Self { shared }.sweep();
        }
    }

    fn respond(
        &self,
        exchange: Exchange<'_>,
        head: ResponseHead,
        timeouts: Timeouts,
    ) -> UpstreamResponse {
        let reusable = head.keep_alive && exchange.is_request_complete();
        let connection = exchange.connection;
        let reused = connection.requests > 1;
        let ResponseHead { answer: head, version, reason, hop_by_hop, framing, .. } = head;
        let (body, upgraded) = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let Connection { stream, buffer, .. } = *connection;
            (UpstreamBody::default(), Some(Box::new(UpgradedStream::new(buffer, stream))))
        } else {
            let pool = reusable.then(|| self.clone());
            (UpstreamBody::new(connection, framing, timeouts.read(), pool), None)
        };
        UpstreamResponse { head, version, reason, hop_by_hop, body, reused, upgraded }
    }

    /// Takes the connection that was used last, so that surplus ones grow old and go.
    fn check_out(&self, key: &PeerKey) -> Option<Box<Connection>> {
        let mut idle = self.shared.idle.borrow_mut();
        let list = idle.get_mut(key)?;
        let now = turn::now().into();
        while let Some(mut newest) = list.pop_back() {
            if self.is_expired(&newest, now) {
                list.clear();
            } else if newest.connection.stream.is_quiet() {
                newest.connection.timer.clear();
                return Some(newest.connection);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange ended cleanly.
    pub(super) fn give_back(&self, mut connection: Box<Connection>) {
        let limits = &self.shared.limits;
        if limits.idle_max == 0
            || (limits.requests_max > 0 && connection.requests >= limits.requests_max)
        {
            return;
        }
        connection.release_buffer();
        let since = Instant::from(turn::now());
        if since.duration_since(self.shared.swept.get()) > limits.idle_timeout {
            self.sweep();
        }
        let mut idle = self.shared.idle.borrow_mut();
        match idle.get_mut(&connection.key) {
            Some(list) => {
                if list.len() >= limits.idle_max {
                    list.pop_front();
                }
                list.push_back(Idle { connection, since });
            }
            None => {
                let key = connection.key.clone();
                idle.insert(key, VecDeque::from([Idle { connection, since }]));
            }
        }
    }

    fn is_expired(&self, idle: &Idle, now: Instant) -> bool {
        now.duration_since(idle.since) >= self.shared.limits.idle_timeout
    }
}
