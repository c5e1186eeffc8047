//! The way upstream: a peer, an address, a try, and another one where that is safe
//! (reference gateway-3, section D.4).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use http::{StatusCode, header};
use http_body::Body as _;
use rustls::pki_types::ServerName;

use super::failure;
use super::headers::{Line, request_head};
use super::settings::ProxySettings;
use super::upstream::{PeerAddress, PeerTls, Pool, RequestBody, Timeouts, UpstreamResponse};
use crate::balancer::{Peer, Resolver};
use crate::domain::kinds::route::Route;
use crate::plugins::body::RequestBody as ExchangeBody;
use crate::plugins::exchange::{Exchange, without_port};
use crate::plugins::reply::Reply;
use crate::router::{PathHandling, upstream_path};
use crate::runtime::{Channel, Host, ServiceTarget};

/// How many tries follow the first when a service does not say.
const RETRIES: u32 = 5;

/// How long a step may take when a service does not say, in milliseconds.
const TIMEOUT_MS: u64 = 60_000;

/// The connections of one core to its upstreams.
pub struct Transport {
    /// Kept connections.
    pub pool: Pool,
    /// Names to addresses.
    pub resolver: Resolver,
}

/// Where a request goes.
pub(super) struct Forwarding<'r> {
    pub(super) route: &'r Route,
    pub(super) service: &'r ServiceTarget,
    /// How much of the path the route matched.
    pub(super) prefix_len: usize,
    /// How the route's path and the service's are joined.
    pub(super) path_handling: PathHandling,
}

impl Forwarding<'_> {
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
) -> Result<UpstreamResponse, Box<Reply>> {
    let service = &forwarding.service.service;
    let http2 = match service.protocol.as_str() {
        "http" | "https" => false,
        "grpc" | "grpcs" => true,
        protocol => {
            tracing::error!(service = %service.id, protocol, "the service is none of HTTP");
            return Err(Reply::failure().into());
        }
    };
    let timeouts = Timeouts {
        connect_ms: service.connect_timeout.unwrap_or(TIMEOUT_MS),
        write_ms: service.write_timeout.unwrap_or(TIMEOUT_MS),
        read_ms: service.read_timeout.unwrap_or(TIMEOUT_MS),
    };
    // Both ends of a gRPC call may be speaking at once.
    if forwarding.route.request_buffering && !http2 {
        buffer(settings, exchange).await?;
    }
    let target = target(exchange, forwarding);
    let mut body = match std::mem::replace(&mut exchange.body, ExchangeBody::Empty) {
        ExchangeBody::Empty => RequestBody::None,
        ExchangeBody::Bytes(bytes) => RequestBody::Bytes(bytes),
        stream => RequestBody::Boxed(Box::pin(Erased(stream))),
    };
    let mut tried = Vec::new();
    let mut last = None;
    for attempt in 0..=service.retries.unwrap_or(RETRIES) {
        let (peer, address) = match pick(transport, forwarding.service, &tried, attempt).await {
            Ok(picked) => picked,
            // Everyone was tried: the last failure says more than that nobody is left.
            Err(_) if last.is_some() => break,
            Err(reply) => return Err(reply),
        };
        if let Host::Upstream(_) = forwarding.service.host {
            tried.push(peer.index);
        }
        let host = upstream_host(exchange, forwarding, peer);
        let prefix =
            forwarding.route.strip_path.then(|| exchange.path().get(..forwarding.prefix_len));
        let prefix = prefix.flatten().filter(|prefix| !prefix.is_empty());
        let line = Line { target: &target, host: &host, prefix };
        let head = request_head(settings, exchange, &line);
        let tls = tls(forwarding.service, &host)?;
        let peer = PeerAddress { addr: address, tls, http2 };
        let now = Instant::now();
        exchange.times.sent.get_or_insert(now);
        exchange.tries.begin(address, now);
        match transport.pool.send(&peer, &head, &mut body, timeouts).await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                tracing::warn!(
                    upstream = %peer.addr, request_id = exchange.id.as_str(), %error,
                    cause = std::error::Error::source(&error), "upstream failed"
                );
                exchange.tries.fail(failure::status(&error));
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
    match exchange.body.buffer(bytes_max).await {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::info!(error = &error as &dyn std::error::Error, "a request body broke off");
            Err(failure::of_body(&error).into())
        }
    }
}

/// Returns path and query as they go upstream.
fn target(exchange: &Exchange, forwarding: &Forwarding<'_>) -> String {
    let (route, service) = (forwarding.route, &forwarding.service.service);
    let (path, base) = (exchange.path(), service.path.as_deref());
    let query = exchange.query();
    let room = query.map_or(0, |query| query.len() + 1);
    let joined = (route.strip_path, forwarding.path_handling);
    let mut target = upstream_path(base, path, forwarding.prefix_len, joined, room);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
}

async fn pick<'s>(
    transport: &Transport,
    service: &'s ServiceTarget,
    tried: &[usize],
    attempt: u32,
) -> Result<(&'s Peer, SocketAddr), Box<Reply>> {
    let peer = match &service.host {
        Host::Peer(peer) => peer,
        Host::Upstream(upstream) => upstream.balancer.pick(tried).ok_or_else(|| {
            let message = "failure to get a peer from the ring-balancer";
            Box::new(Reply::error(StatusCode::SERVICE_UNAVAILABLE, message))
        })?,
    };
    if let Some(ip) = peer.ip {
        return Ok((peer, SocketAddr::new(ip, peer.port)));
    }
    let addresses = Box::pin(transport.resolver.resolve(&peer.host)).await.map_err(|error| {
        tracing::error!(%error, "name resolution failed");
        Box::new(Reply::error(StatusCode::SERVICE_UNAVAILABLE, "name resolution failed"))
    })?;
    let turn = attempt as usize % addresses.len().max(1);
    let ip: IpAddr = addresses.get(turn).copied().ok_or_else(|| {
        Box::new(Reply::error(StatusCode::SERVICE_UNAVAILABLE, "name resolution failed"))
    })?;
    Ok((peer, SocketAddr::new(ip, peer.port)))
}

/// Returns the Host that goes upstream (reference gateway-3, section D.1).
fn upstream_host<'a>(
    exchange: &'a Exchange,
    forwarding: &Forwarding<'a>,
    peer: &'a Peer,
) -> Cow<'a, str> {
    if forwarding.route.preserve_host {
        return exchange.authority().into();
    }
    let tls = matches!(forwarding.service.service.protocol.as_str(), "https" | "grpcs");
    let usual = if tls { 443 } else { 80 };
    if let Host::Upstream(upstream) = &forwarding.service.host
        && let Some(host) = &upstream.host_header
    {
        return match without_port(host) == host && peer.port != usual {
            true => format!("{host}:{}", peer.port).into(),
            false => host.into(),
        };
    }
    peer.authority(usual).into()
}

/// Returns how TLS is spoken; the name is that of the Host, without its port.
fn tls(service: &ServiceTarget, host: &str) -> Result<Option<PeerTls>, Box<Reply>> {
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
