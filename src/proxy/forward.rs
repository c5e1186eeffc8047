//! The way upstream: a peer, an address, a try, and another one where that is safe
//! (reference gateway-3, section D.4).

use std::any::Any;
use std::borrow::Cow;
use std::time::Duration;

use http::header;
use http_body::Body as _;
use rustls::pki_types::ServerName;

use super::debug::{self, Phase};
use super::failure;
use super::headers::{Line, request_head};
use super::settings::ProxySettings;
use super::shelf::Shelf;
use super::tries::Tries;
use super::upstream::{
    PeerAddress, PeerTls, Pool, RequestBody, Timeouts, TimerSlot, UpstreamError, UpstreamResponse,
};
use crate::balancer::dns::core::CoreResolver;
use crate::clock::{Clock, turn};
use crate::domain::kinds::route::Route;
use crate::domain::kinds::service::Service;
use crate::plugins::body::RequestBody as ExchangeBody;
use crate::plugins::exchange::{Exchange, without_port};
use crate::plugins::reply::Reply;
use crate::router::{Matched, PathHandling, upstream_path};
use crate::runtime::{Channel, Scheme, ServiceTarget};

/// How many tries follow the first when a service does not say.
pub(super) const RETRIES: u32 = 5;

/// How long a step may take when a service does not say, in milliseconds.
pub(super) const TIMEOUT_MS: u64 = 60_000;

/// The connections of one core to its upstreams.
pub struct Transport {
    /// Kept connections.
    pool: Pool,
    /// Names to addresses.
    resolver: CoreResolver,
    /// Where ids come from.
    pub(super) clock: Clock,
    /// Buffers that heads were written in, for the next ones.
    buffers: Shelf,
}

impl Transport {
    /// Makes what the core that runs on this thread sends by.
    pub fn new(pool: Pool, resolver: CoreResolver, clock: Clock) -> Self {
        Self { pool, resolver, clock, buffers: Shelf::default() }
    }
}

/// Where a request goes.
pub(super) struct Forwarding<'r> {
    pub(super) route: &'r Route,
    pub(super) service: &'r ServiceTarget,
    /// How it was found.
    pub(super) matched: Option<Matched<'r>>,
    /// How much of the path the route matched.
    pub(super) prefix_len: usize,
    /// How the route's path and the service's are joined.
    pub(super) path_handling: PathHandling,
}

impl Forwarding<'_> {
    /// Returns what a group of the route's pattern matched, by name or number.
    pub(super) fn capture(&self, exchange: &Exchange, group: &str) -> Option<String> {
        let captures = self.matched?.captures(exchange.path())?;
        captures.get(group).map(str::to_owned)
    }

    /// Returns how long a pause in receiving may be.
    pub(super) fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.service.service.read_timeout.unwrap_or(TIMEOUT_MS))
    }
}

/// Sends a request; the error is the answer for the client.
pub(super) async fn send(
    transport: &Transport,
    settings: &ProxySettings,
    exchange: &mut Exchange,
    forwarding: &Forwarding<'_>,
    timer: &TimerSlot,
) -> Result<UpstreamResponse, Box<Reply>> {
    let service = &forwarding.service.service;
    let Some(Scheme { http2, encrypted }) = forwarding.service.scheme else {
        let protocol = &*service.protocol;
        tracing::error!(service = %service.id, protocol, "the service is none of HTTP");
        return Err(Reply::failure().into());
    };
    let timeouts = timeouts(service);
    let patience = Duration::from_millis(timeouts.connect_ms);
    // Both ends of a gRPC call may be speaking at once.
    if forwarding.route.request_buffering && !http2 {
        buffer(settings, exchange).await?;
    }
    let mut body = take_body(exchange);
    let mut tries = Tries::new(transport, exchange, forwarding);
    let mut last = None;
    debug::enter_dns(exchange, &forwarding.service.host, &transport.resolver);
    for _ in 0..=service.retries.unwrap_or(RETRIES) {
        // Who refuses a connection is not burdened by it: only what was sent is counted.
        let was_sent = last.as_ref().is_some_and(|error: &UpstreamError| error.request_sent);
        if was_sent && !tries.may_repeat() {
            break;
        }
        let chosen = match tries.next(&transport.resolver, patience).await {
            Ok(chosen) => chosen,
            // Everyone was tried: the last failure says more than that nobody is left.
            Err(_) if last.is_some() => break,
            Err(reply) => return Err(reply),
        };
        debug::turn_to(exchange, Phase::Balancer);
        let now = turn::now();
        exchange.times.sent.get_or_insert(now);
        exchange.tries.begin(chosen.socket, now);
        let host = match forwarding.route.preserve_host {
            true => exchange.authority().into(),
            false => tries.host(&chosen, if encrypted { 443 } else { 80 }),
        };
        let prefix =
            forwarding.route.strip_path.then(|| exchange.path().get(..forwarding.prefix_len));
        let prefix = prefix.flatten().filter(|prefix| !prefix.is_empty());
        let target = target(exchange, forwarding);
        let line = Line { target: &target, host: &host, prefix };
        let mut head = request_head(settings, exchange, &line, transport.buffers.take());
        let tls = channel(forwarding.service, &host)?;
        let peer = PeerAddress { addr: chosen.socket, tls, http2 };
        debug::turn_to(exchange, Phase::Upstream);
        match transport.pool.send(&peer, &mut head, &mut body, timeouts, timer).await {
            Ok(answer) => {
                transport.buffers.give(head.into_bytes());
                let lease = chosen.answered(answer.head.status);
                exchange.held = lease.map(|lease| Box::new(lease) as Box<dyn Any>);
                return Ok(answer);
            }
            Err(error) => {
                tracing::warn!(
                    upstream = %peer.addr, request_id = exchange.id.as_str(), %error,
                    cause = std::error::Error::source(&error), "upstream failed"
                );
                debug::turn_to(exchange, Phase::Balancer);
                exchange.tries.fail(failure::status(&error));
                chosen.failed(&error);
                let again = error.may_retry(head.is_idempotent()) && body.is_replayable();
                last = Some(error);
                if !again {
                    break;
                }
            }
        }
    }
    Err(failure::of_tries(last.as_ref()).into())
}

fn take_body(exchange: &mut Exchange) -> RequestBody {
    match std::mem::replace(&mut exchange.body, ExchangeBody::Empty) {
        ExchangeBody::Empty => RequestBody::None,
        ExchangeBody::Bytes(bytes) => RequestBody::Bytes(bytes),
        stream => RequestBody::Boxed(Box::pin(Erased(stream))),
    }
}

pub(super) fn timeouts(service: &Service) -> Timeouts {
    Timeouts {
        connect_ms: service.connect_timeout.unwrap_or(TIMEOUT_MS),
        write_ms: service.write_timeout.unwrap_or(TIMEOUT_MS),
        read_ms: service.read_timeout.unwrap_or(TIMEOUT_MS),
    }
}

/// Reads a body before anyone upstream hears of its request, so that slow clients cost them
/// nothing and it can be sent again. One that is longer than the buffer goes on as it comes, and so
/// does one with trailers, for which the buffer has no room.
async fn buffer(settings: &ProxySettings, exchange: &mut Exchange) -> Result<(), Box<Reply>> {
    let bytes_max = settings.body_buffer_bytes;
    let fits = exchange.body.size_hint().lower() <= bytes_max as u64;
    let is_stream = matches!(exchange.body, ExchangeBody::Stream { .. });
    if !(is_stream && fits) || exchange.request.headers.contains_key(header::TRAILER) {
        return Ok(());
    }
    debug::leave_all(exchange);
    let buffered = exchange.body.buffer(bytes_max).await;
    debug::turn_to(exchange, Phase::Access);
    match buffered {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::info!(error = &error as &dyn std::error::Error, "a request body broke off");
            Err(failure::of_body(&error).into())
        }
    }
}

/// Returns path and query as they go upstream.
fn target<'e>(exchange: &'e Exchange, forwarding: &Forwarding<'_>) -> Cow<'e, str> {
    let (route, service) = (forwarding.route, &forwarding.service.service);
    let (path, base) = (exchange.path(), service.path.as_deref());
    let query = exchange.query();
    let room = query.map_or(0, |query| query.len() + 1);
    let joined = (route.strip_path, forwarding.path_handling);
    let target = upstream_path(base, path, forwarding.prefix_len, joined, room);
    if let (Cow::Borrowed(_), Some(target)) = (&target, exchange.target()) {
        return Cow::Borrowed(target);
    }
    let Some(query) = query else { return target };
    let mut target = target.into_owned();
    target.push('?');
    target.push_str(query);
    Cow::Owned(target)
}

/// Returns how TLS is spoken; the name is that of the Host, without its port.
fn channel(service: &ServiceTarget, host: &str) -> Result<Option<PeerTls>, Box<Reply>> {
    let config = match &service.channel {
        Channel::Plain => return Ok(None),
        Channel::Tls(config) => config.clone(),
        Channel::Unusable => return Err(failure::bad_gateway().into()),
    };
    let name = without_port(host).trim_start_matches('[').trim_end_matches(']');
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
        tracing::error!(host, "the Host of a TLS upstream is no server name");
        Box::new(failure::bad_gateway())
    })?;
    Ok(Some(PeerTls { config, server_name }))
}

/// The exchange's body with the error that the transport knows.
struct Erased(ExchangeBody);

impl http_body::Body for Erased {
    type Data = bytes::Bytes;
    type Error = super::upstream::BoxError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.get_mut().0).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}
