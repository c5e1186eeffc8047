//! Idle connections of one proxy core, and the door of this module: [`Pool::send`].

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Instant;

use bytes::BytesMut;
use http::StatusCode;

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
use super::timer::TimerSlot;
use crate::clock::turn;
use crate::plugins::exchange::ResponseHead as AnswerHead;
use crate::proxy::received::Inbox;

/// The connections of one core to all its upstreams. Clones share them; nothing is locked.
#[derive(Clone)]
pub struct Pool {
    shared: Rc<Shared>,
}

struct Shared {
    limits: PoolLimits,
    http2: Links,
    // The keys are peers of our own configuration: nobody can choose them to collide.
    homes: RefCell<HashMap<PeerKey, Rc<Home>, foldhash::fast::RandomState>>,
    inbox: RefCell<Inbox>,
}

/// Where the connections to one peer are while nobody uses them. A request looks for it once, on its
/// way out.
#[derive(Debug)]
pub(super) struct Home {
    limits: PoolLimits,
    idle: RefCell<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    /// When it has been idle for too long; none, if the clock does not reach so far.
    until: Option<Instant>,
}

impl Idle {
    fn is_expired(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

/// An upstream's answer; the body follows as it comes.
///
/// Headers are as the upstream sent them, hop-by-hop ones included, except that the framing of a
/// chunked response is taken off.
#[derive(Debug)]
pub struct UpstreamResponse {
    /// Status and headers.
    pub head: Box<AnswerHead>,
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
        let (http2, homes, inbox) = (Links::default(), RefCell::default(), RefCell::default());
        Self { shared: Rc::new(Shared { limits, http2, homes, inbox }) }
    }

    /// Sends a request to `peer` and awaits the head of its answer, by the timer of whoever asks.
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
        timer: &TimerSlot,
    ) -> Result<UpstreamResponse, UpstreamError> {
        if !body.is_replayable() {
            let spent = "it was already sent in part to another peer";
            return Err(UpstreamError::caused(UpstreamErrorKind::RequestBody, false, spent));
        }
        if peer.http2 {
            return Box::pin(self.send_http2(peer, head, body, timeouts)).await;
        }
        let home = self.home(peer);
        if let Some(connection) = home.check_out() {
            let inbox = &self.shared.inbox;
            let mut exchange = Exchange::new(connection, head, body.lend(), timeouts, timer, inbox);
            match exchange.run().await {
                Ok(answer) => return Ok(respond(home, exchange, answer, timeouts)),
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
        Box::pin(self.send_anew(home, peer, head, body, timeouts, timer)).await
    }

    /// Sends a request on a connection of its own.
    async fn send_anew(
        &self,
        home: Rc<Home>,
        peer: &PeerAddress,
        head: &mut UpstreamHead,
        body: &mut RequestBody,
        timeouts: Timeouts,
        timer: &TimerSlot,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let connection = Box::new(Connection::open(peer, &timeouts).await?);
        let inbox = &self.shared.inbox;
        let mut exchange = Exchange::new(connection, head, body.lend(), timeouts, timer, inbox);
        let answer = exchange.run().await?;
        Ok(respond(home, exchange, answer, timeouts))
    }

    /// Returns where the connections to a peer are.
    fn home(&self, peer: &PeerAddress) -> Rc<Home> {
        let key = PeerKey::from(peer);
        let mut homes = self.shared.homes.borrow_mut();
        if let Some(home) = homes.get(&key) {
            return home.clone();
        }
        let home = Rc::new(Home { limits: self.shared.limits, idle: RefCell::default() });
        homes.insert(key, home.clone());
        home
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
            head: Box::new(AnswerHead {
                status,
                reason: None,
                headers,
                raw: None,
                from_upstream: true,
            }),
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
        self.shared.homes.borrow().values().map(|home| home.idle.borrow().len()).sum()
    }

    /// Closes the connections that were idle for too long, or that their upstream closed.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.shared.http2.sweep(&self.shared.limits);
        self.shared.homes.borrow_mut().retain(|_, home| {
            let mut idle = home.idle.borrow_mut();
            idle.retain_mut(|idle| !idle.is_expired(now) && idle.connection.stream.is_quiet());
            // Whoever uses one of its connections holds it.
            !idle.is_empty() || Rc::strong_count(home) > 1
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
}

impl Home {
    /// Takes the connection that was used last, so that surplus ones grow old and go.
    fn check_out(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        let now = turn::now();
        while let Some(mut newest) = idle.pop_back() {
            if newest.is_expired(now) {
                idle.clear();
            } else if newest.connection.stream.is_quiet() {
                return Some(newest.connection);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange ended cleanly.
    pub(super) fn give_back(&self, mut connection: Box<Connection>) {
        let PoolLimits { idle_max, requests_max, idle_timeout } = self.limits;
        if idle_max == 0 || (requests_max > 0 && connection.requests >= requests_max) {
            return;
        }
        connection.timer.clear();
        // An idle connection holds no memory for what it may receive.
        connection.buffer = BytesMut::new();
        let until = turn::now().checked_add(idle_timeout);
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= idle_max {
            idle.pop_front();
        }
        idle.push_back(Idle { connection, until });
    }
}

fn respond(
    home: Rc<Home>,
    exchange: Exchange<'_>,
    head: ResponseHead,
    timeouts: Timeouts,
) -> UpstreamResponse {
    let reusable = head.keep_alive && exchange.is_request_complete();
    let connection = exchange.into_connection();
    let reused = connection.requests > 1;
    let ResponseHead { answer: head, hop_by_hop, framing, .. } = head;
    let (body, upgraded) = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let Connection { stream, buffer, .. } = *connection;
        (UpstreamBody::default(), Some(Box::new(UpgradedStream::new(buffer, stream))))
    } else {
        let home = reusable.then_some(home);
        (UpstreamBody::new(connection, framing, timeouts.read(), home), None)
    };
    UpstreamResponse { head, hop_by_hop, body, reused, upgraded }
}
