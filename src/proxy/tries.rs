//! Who gets each try of a request, and what is told of how it went (reference gateway-3, sections
//! D.4, E.1 and E.2).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{StatusCode, header};

use tokio::time::timeout;

use super::failure;
use super::forward::{Forwarding, Transport};
use super::upstream::{UpstreamError, UpstreamErrorKind};
use crate::balancer::address::{Address, Lease, Moment};
use crate::balancer::dns::ResolveError;
use crate::balancer::dns::core::{CoreResolver, Resolved};
use crate::balancer::health::Outcome;
use crate::balancer::{Algorithm, Ask, Balancer, Peer, Tried};
use crate::clock::turn;
use crate::plugins::exchange::{Exchange, without_port};
use crate::plugins::reply::Reply;
use crate::runtime::{Host, UpstreamTarget};

/// What a failed try counts as at the least, so that who fails fast does not look fast.
const FAILURE_MIN: Duration = Duration::from_secs(1);

/// The tries of one request.
pub(super) enum Tries<'r> {
    /// At a host that is no upstream.
    Host { peer: &'r Peer, resolved: Option<Resolved>, count: usize },
    /// At addresses of an upstream.
    Upstream { upstream: &'r UpstreamTarget, hash: u64, tried: Tried },
}

/// Who gets a try.
pub(super) struct Chosen<'r> {
    /// Where to connect to.
    pub(super) socket: SocketAddr,
    /// Of an upstream.
    member: Option<Member<'r>>,
    lease: Option<Lease>,
}

/// An address of an upstream that was picked.
struct Member<'r> {
    balancer: &'r Balancer,
    address: Arc<Address>,
    started: Instant,
}

impl<'r> Tries<'r> {
    /// Begins the tries of a request.
    pub(super) fn new(
        transport: &Transport,
        exchange: &mut Exchange,
        forwarding: &Forwarding<'r>,
    ) -> Self {
        let host = &forwarding.service.host;
        let Host::Upstream(upstream) = host else { return Self::at(host, |_| 0) };
        let balancer = &upstream.balancer;
        let mut hash = 0;
        if let Algorithm::Hashing { .. } = balancer.algorithm() {
            let capture = |group: &str| forwarding.capture(exchange, group).map(Cow::Owned);
            let hashed = balancer.hashing().hash(exchange, capture, || transport.clock.id());
            hash = hashed.hash;
            if let Some(cookie) = hashed.cookie {
                exchange.added.push((header::SET_COOKIE, cookie));
            }
        }
        Self::at(host, |_| hash)
    }

    /// Begins the tries of a request or stream; what consistent hashing goes by is asked for where
    /// that is.
    pub(super) fn at(host: &'r Host, hash: impl FnOnce(&Balancer) -> u64) -> Self {
        let upstream = match host {
            Host::Peer(peer) => return Self::Host { peer, resolved: None, count: 0 },
            Host::Upstream(upstream) => upstream,
        };
        let balancer = &upstream.balancer;
        let hash = match balancer.algorithm() {
            Algorithm::Hashing { .. } => hash(balancer),
            _ => 0,
        };
        balancer.retries.count_request(turn::now());
        Self::Upstream { upstream, hash, tried: Tried::default() }
    }

    /// Returns whether a request may be sent once more within what the upstream may get.
    pub(super) fn may_repeat(&self) -> bool {
        match self {
            Self::Host { .. } => true,
            Self::Upstream { upstream, .. } => {
                let allowed = upstream.balancer.retries.allow_retry(turn::now());
                if !allowed {
                    tracing::debug!(upstream = upstream.balancer.name, "too many retries: no more");
                }
                allowed
            }
        }
    }

    /// Returns who gets the next try; the error is the answer for the client. A name that nobody has
    /// asked for yet is waited for, but no longer than for a connection.
    pub(super) async fn next(
        &mut self,
        resolver: &CoreResolver,
        patience: Duration,
    ) -> Result<Chosen<'r>, Box<Reply>> {
        match self {
            Self::Host { peer, resolved, count } => {
                let turn = std::mem::replace(count, *count + 1);
                if let Some(ip) = peer.ip {
                    return Ok(Chosen::of_host(SocketAddr::new(ip, peer.port)));
                }
                if resolved.is_none() {
                    let found = timeout(patience, Box::pin(resolver.resolve(&peer.host))).await;
                    let found = found.unwrap_or_else(|_| Err(ResolveError::late(&peer.host)));
                    *resolved = Some(found.map_err(|error| {
                        tracing::error!(%error, "name resolution failed");
                        unresolved()
                    })?);
                }
                let record = resolved.as_ref().and_then(|found| found.nth(turn));
                let record = record.ok_or_else(unresolved)?;
                let port = record.port.unwrap_or(peer.port);
                Ok(Chosen::of_host(SocketAddr::new(record.ip, port)))
            }
            Self::Upstream { upstream, hash, tried } => {
                let balancer = &*upstream.balancer;
                let now = Moment::now();
                let mut picked = balancer.pick(&Ask { hash: *hash, tried, now });
                if picked.is_none() && balancer.is_pending() {
                    // Its names are being asked for, for the first time.
                    if timeout(patience, Box::pin(balancer.resolved())).await.is_err() {
                        let upstream = &balancer.name;
                        tracing::error!(upstream, "no name server answers for its targets in time");
                    }
                    picked = balancer.pick(&Ask { hash: *hash, tried, now });
                }
                let Some(address) = picked else {
                    let message = "failure to get a peer from the ring-balancer";
                    return Err(Reply::error(StatusCode::SERVICE_UNAVAILABLE, message).into());
                };
                tried.add(&address);
                Ok(Chosen::of_upstream(balancer, address))
            }
        }
    }

    /// Returns the Host that goes with a try (reference gateway-3, section D.1).
    pub(super) fn host<'h>(&self, chosen: &'h Chosen<'r>, usual: u16) -> Cow<'h, str>
    where
        'r: 'h,
    {
        let (upstream, address) = match (self, &chosen.member) {
            (Self::Upstream { upstream, .. }, Some(member)) => (upstream, &member.address),
            (Self::Host { peer, .. }, _) if peer.port == chosen.socket.port() => {
                return peer.authority(usual).into();
            }
            (Self::Host { peer, .. }, _) => {
                return Peer::new(&peer.host, chosen.socket.port())
                    .authority(usual)
                    .to_owned()
                    .into();
            }
            (Self::Upstream { .. }, None) => return Cow::Borrowed(""),
        };
        match &upstream.host_header {
            Some(host) if without_port(host) == host && address.port != usual => {
                format!("{host}:{}", address.port).into()
            }
            Some(host) => host.into(),
            None => upstream.balancer.authority(address, usual).into(),
        }
    }
}

impl<'r> Chosen<'r> {
    fn of_host(socket: SocketAddr) -> Self {
        Self { socket, member: None, lease: None }
    }

    fn of_upstream(balancer: &'r Balancer, address: Arc<Address>) -> Self {
        let counts = balancer.algorithm() == Algorithm::LeastConnections;
        let lease = counts.then(|| address.lease());
        let socket = address.socket();
        let member = Member { balancer, address, started: turn::now() };
        Self { socket, member: Some(member), lease }
    }

    /// Tells that it answered. What is returned is kept until the answer is over.
    pub(super) fn answered(self, status: StatusCode) -> Option<Lease> {
        if let Some(member) = &self.member {
            member.note_latency(Duration::ZERO);
            member.balancer.report(&member.address, Outcome::Status(status));
        }
        self.lease
    }

    /// Tells that a stream was joined to it, which says nothing of its health. What is returned is kept
    /// until the stream is over.
    pub(super) fn joined(self) -> Option<Lease> {
        if let Some(member) = &self.member {
            member.note_latency(Duration::ZERO);
        }
        self.lease
    }

    /// Tells that it failed, unless that was the client's doing.
    pub(super) fn failed(self, error: &UpstreamError) {
        let Some(member) = &self.member else { return };
        if matches!(error.kind, UpstreamErrorKind::RequestBody | UpstreamErrorKind::Unsendable) {
            return;
        }
        member.note_latency(FAILURE_MIN);
        let outcome = match failure::status(error) {
            StatusCode::GATEWAY_TIMEOUT => Outcome::TimedOut,
            _ => Outcome::Failed,
        };
        member.balancer.report(&member.address, outcome);
    }
}

impl Member<'_> {
    /// Notes how long the try took, `least` at the least.
    fn note_latency(&self, least: Duration) {
        if self.balancer.algorithm() == Algorithm::Latency {
            let now = turn::now();
            let took = now.saturating_duration_since(self.started).max(least);
            self.address.note_latency(took, Moment::of(now));
        }
    }
}

fn unresolved() -> Box<Reply> {
    Reply::error(StatusCode::SERVICE_UNAVAILABLE, "name resolution failed").into()
}
