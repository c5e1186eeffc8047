//! The way upstream of a session: a peer, an address, a try, and another one as long as nothing was
//! sent.

use std::net::SocketAddr;

use rustls::pki_types::ServerName;

use super::core::{Core, TIMEOUT_MS, Target};
use super::session::{Session, status};
use crate::balancer::Peer;
use crate::plugins::exchange::without_port;
use crate::proxy::upstream::{PeerAddress, PeerTls, Stream, Timeouts, connect};
use crate::runtime::{Channel, Host, ServiceTarget};

/// How many tries follow the first when a service does not say.
const RETRIES: u32 = 5;

/// Connects to a peer of the target, through its TLS where it speaks that. Says in the session and
/// the log why that is not possible.
pub(super) async fn connect_tcp(
    core: &Core,
    session: &mut Session,
    target: &Target,
) -> Option<Stream> {
    let service = &target.service.service;
    let timeouts = Timeouts {
        connect_ms: service.connect_timeout.unwrap_or(TIMEOUT_MS),
        write_ms: service.write_timeout.unwrap_or(TIMEOUT_MS),
        read_ms: service.read_timeout.unwrap_or(TIMEOUT_MS),
    };
    let mut tried = Vec::new();
    for attempt in 0..=service.retries.unwrap_or(RETRIES) {
        let Some((peer, addr)) = pick(core, session, &target.service, &tried, attempt).await else {
            break;
        };
        if let Host::Upstream(_) = target.service.host {
            tried.push(peer.index);
        }
        session.status = status::BAD_GATEWAY;
        session.upstream = Some(addr);
        session.tries += 1;
        let address = PeerAddress { addr, tls: tls(&target.service, peer)?, http2: false };
        match connect(&address, &timeouts).await {
            Ok(stream) => {
                session.status = status::OK;
                return Some(stream);
            }
            Err(error) => tracing::warn!(
                upstream = %addr, client = %session.client, %error,
                cause = std::error::Error::source(&error), "upstream failed"
            ),
        }
    }
    None
}

/// Returns the next peer to try and its address. When everyone was tried, the last failure says more
/// than that nobody is left.
pub(super) async fn pick<'s>(
    core: &Core,
    session: &mut Session,
    service: &'s ServiceTarget,
    tried: &[usize],
    attempt: u32,
) -> Option<(&'s Peer, SocketAddr)> {
    let peer = match &service.host {
        Host::Peer(peer) => Some(peer),
        Host::Upstream(upstream) => upstream.balancer.pick(tried),
    };
    let Some(peer) = peer else {
        if tried.is_empty() {
            session.status = status::UNAVAILABLE;
            tracing::error!(
                service = %service.service.id, "failure to get a peer from the ring-balancer"
            );
        }
        return None;
    };
    if let Some(ip) = peer.ip {
        return Some((peer, SocketAddr::new(ip, peer.port)));
    }
    let addresses = match Box::pin(core.resolver.resolve(&peer.host)).await {
        Ok(addresses) => addresses,
        Err(error) => {
            session.status = status::UNAVAILABLE;
            tracing::error!(%error, "name resolution failed");
            return None;
        }
    };
    let turn = attempt as usize % addresses.len().max(1);
    addresses.get(turn).map(|ip| (peer, SocketAddr::new(*ip, peer.port)))
}

/// Returns how TLS is spoken, if it is; nothing at all where it cannot be spoken as the service
/// asks. The name is that of the upstream's `host_header`, else of the peer.
fn tls(service: &ServiceTarget, peer: &Peer) -> Option<Option<PeerTls>> {
    let config = match &service.channel {
        Channel::Plain => return Some(None),
        Channel::Tls(config) => config.clone(),
        Channel::Unusable => return None,
    };
    let host = match &service.host {
        Host::Upstream(upstream) => upstream.host_header.as_deref().map(without_port),
        Host::Peer(_) => None,
    };
    let host = host.unwrap_or(&peer.host);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    match ServerName::try_from(name.to_owned()) {
        Ok(server_name) => Some(Some(PeerTls { config, server_name })),
        Err(_) => {
            tracing::error!(host, "the host of a TLS upstream is no server name");
            None
        }
    }
}
