//! HTTP/2 towards upstreams, for gRPC: few connections, many requests on each at once.
//!
//! Invariants:
//! - a request that the upstream has not begun to work on may be sent again, whatever its method;
//! - a client that does not read its answer holds up no other answer on the connection;
//! - a connection on which an answer never came takes no further request.

mod link;
mod request;
mod response;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Shared};
use http::Response;
use hyper::body::Incoming;
use tokio::time::Instant;

use self::link::Link;
pub(super) use self::link::Ticket;
pub(super) use self::request::Lent;
use self::request::{Outlet, request};
pub(super) use self::response::Http2Body;
use super::error::{Step, UpstreamError, UpstreamErrorKind};
use super::head::UpstreamHead;
use super::peer::{PeerAddress, PeerKey, PoolLimits, Timeouts};
use super::request::RequestBody;
use super::timer::LazyTimer;

/// The HTTP/2 connections of one core.
#[derive(Default)]
pub(super) struct Links {
    // The keys are peers of our own configuration: nobody can choose them to collide.
    peers: RefCell<HashMap<PeerKey, Peer, foldhash::fast::RandomState>>,
}

/// A connection that is being opened; everyone who wants it waits for the same.
type Opening = Shared<LocalBoxFuture<'static, Result<Rc<Link>, Failure>>>;

/// Why a connection could not be opened, for everyone who waited.
type Failure = (UpstreamErrorKind, Rc<str>);

#[derive(Default)]
struct Peer {
    links: Vec<Rc<Link>>,
    opening: Option<Opening>,
}

/// An answer and what keeps its place on the connection.
pub(super) struct Http2Answer {
    pub(super) response: Response<Incoming>,
    pub(super) ticket: Ticket,
    pub(super) lent: Rc<Lent>,
    pub(super) reused: bool,
}

impl Links {
    /// Sends a request and awaits the head of its answer. A connection that ends before it took
    /// the request is replaced by another, once.
    pub(super) async fn send(
        &self,
        peer: &PeerAddress,
        head: &UpstreamHead,
        body: &mut RequestBody,
        timeouts: Timeouts,
        limits: &PoolLimits,
    ) -> Result<Http2Answer, UpstreamError> {
        let mut replaced = false;
        loop {
            let (ticket, reused) = self.take(peer, timeouts, limits).await?;
            match exchange(peer, head, body, timeouts.read(), ticket, reused).await {
                Err(error)
                    if reused
                        && !replaced
                        && error.kind == UpstreamErrorKind::Closed
                        && !error.request_sent
                        && body.is_replayable() =>
                {
                    replaced = true;
                }
                result => return result,
            }
        }
    }

    /// Takes a place on a connection; tells whether the connection had served before.
    async fn take(
        &self,
        peer: &PeerAddress,
        timeouts: Timeouts,
        limits: &PoolLimits,
    ) -> Result<(Ticket, bool), UpstreamError> {
        let key = PeerKey::from(peer);
        loop {
            let opening = {
                let mut peers = self.peers.borrow_mut();
                let entry = peers.entry(key.clone()).or_default();
                entry.links.retain(|link| link.takes_requests(limits));
                if let Some(link) = entry.links.iter().find(|link| link.has_room()) {
                    return Ok((Ticket::new(link.clone()), link.has_served()));
                }
                let open = || open(peer.clone(), timeouts);
                entry.opening.get_or_insert_with(open).clone()
            };
            let opened = opening.clone().await;
            let mut peers = self.peers.borrow_mut();
            let Some(entry) = peers.get_mut(&key) else { continue };
            // Whoever comes first puts it where the others find it.
            if entry.opening.as_ref().is_some_and(|it| it.ptr_eq(&opening)) {
                entry.opening = None;
                if let Ok(link) = &opened {
                    entry.links.push(link.clone());
                }
            }
            match opened {
                Ok(link) if link.has_room() => {
                    let reused = link.has_served();
                    return Ok((Ticket::new(link), reused));
                }
                Ok(_) => {}
                Err((kind, reason)) => {
                    return Err(UpstreamError::caused(kind, false, String::from(&*reason)));
                }
            }
        }
    }

    /// Forgets connections that ended or were idle for too long.
    pub(super) fn sweep(&self, limits: &PoolLimits) {
        let now = Instant::now();
        self.peers.borrow_mut().retain(|_, peer| {
            if let Some(opened) = peer.opening.as_ref().and_then(Shared::peek).cloned() {
                // Whoever wanted it has gone.
                peer.opening = None;
                peer.links.extend(opened);
            }
            peer.links.retain(|link| link.takes_requests(limits) && !link.is_expired(limits, now));
            !peer.links.is_empty() || peer.opening.is_some()
        });
    }

    /// Returns how many connections there are.
    pub(super) fn count(&self) -> usize {
        self.peers.borrow().values().map(|peer| peer.links.len()).sum()
    }
}

/// Opens a connection in a task of its own: whoever wanted it first may not wait for it.
fn open(peer: PeerAddress, timeouts: Timeouts) -> Opening {
    let task = tokio::task::spawn_local(async move {
        Link::open(&peer, &timeouts).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let reason: Rc<str> = cause.unwrap_or_else(|| error.to_string()).into();
            (error.kind, reason)
        })
    });
    let opened = async move {
        let failed = |_| Err((UpstreamErrorKind::Connect, Rc::from("opening it was given up")));
        task.await.unwrap_or_else(failed)
    };
    opened.boxed_local().shared()
}

/// Drives one request to the head of its answer.
async fn exchange(
    peer: &PeerAddress,
    head: &UpstreamHead,
    body: &mut RequestBody,
    read_limit: Duration,
    ticket: Ticket,
    reused: bool,
) -> Result<Http2Answer, UpstreamError> {
    let lent = Rc::new(Lent::new(std::mem::take(body)));
    let request = match request(head, peer.tls.is_some(), Outlet::new(lent.clone())) {
        Ok(request) => request,
        Err(error) => {
            *body = lent.take_back();
            return Err(UpstreamError::caused(UpstreamErrorKind::Unsendable, false, error));
        }
    };
    let mut answer = std::pin::pin!(ticket.send(request));
    let mut timer = LazyTimer::default();
    let verdict = poll_fn(|cx| {
        if let Poll::Ready(verdict) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(verdict));
        }
        // Progress of the body moves the deadline; the timer finds out when it fires.
        timer.poll_until(cx, lent.progress() + read_limit).map(|()| None)
    });
    let error = match verdict.await {
        Some(Ok(response)) => {
            lent.note();
            return Ok(Http2Answer { response, ticket, lent, reused });
        }
        Some(Err(error)) => error,
        None => {
            ticket.retire();
            UpstreamError::new(UpstreamErrorKind::Timeout(Step::Read), true)
        }
    };
    *body = lent.take_back();
    Err(lent.take_error().unwrap_or(error))
}
