//! The way upstream of a session: a peer, an address, a try, and another one as long as nothing was
//! sent.

use std::time::Duration;

use rustls::pki_types::ServerName;

use super::core::{Core, Target};
use super::session::{Session, status};
use crate::balancer::address::Lease;
use crate::plugins::exchange::without_port;
use crate::plugins::reply::ReplyBody;
use crate::proxy::forward::{RETRIES, timeouts};
use crate::proxy::tries::{Chosen, Tries};
use crate::proxy::upstream::{PeerAddress, PeerTls, Stream, connect};
use crate::runtime::{Channel, Host, ServiceTarget};

/// Begins the tries of a session.
pub(super) fn tries<'r>(session: &Session, target: &'r Target) -> Tries<'r> {
    let client = session.client.ip();
    Tries::at(&target.service.host, |balancer| balancer.hashing().hash_stream(client))
}

/// Connects to a peer of the target, through its TLS where it speaks that; what comes with the
/// stream is kept as long as it. Says in the session and the log why that is not possible.
pub(super) async fn connect_tcp(
    core: &Core,
    session: &mut Session,
    target: &Target,
) -> Option<(Stream, Option<Lease>)> {
    let service = &target.service.service;
    let timeouts = timeouts(service);
    let mut tries = tries(session, target);
    for _ in 0..=service.retries.unwrap_or(RETRIES) {
        let chosen = choose(core, session, target, &mut tries).await?;
        let host = tries.host(&chosen, 0);
        let tls = tls(&target.service, without_port(&host))?;
        let address = PeerAddress { addr: chosen.socket, tls, http2: false };
        match connect(&address, &timeouts).await {
            Ok(stream) => {
                session.status = status::OK;
                return Some((stream, chosen.joined()));
            }
            Err(error) => {
                tracing::warn!(
                    upstream = %address.addr, client = %session.client, %error,
                    cause = std::error::Error::source(&error), "upstream failed"
                );
                chosen.failed(&error);
            }
        }
    }
    None
}

/// Returns who gets the next try, and notes it. When everyone was tried, the last failure says more
/// than that nobody is left.
pub(super) async fn choose<'r>(
    core: &Core,
    session: &mut Session,
    target: &Target,
    tries: &mut Tries<'r>,
) -> Option<Chosen<'r>> {
    let connect_ms = timeouts(&target.service.service).connect_ms;
    match tries.next(&core.resolver, Duration::from_millis(connect_ms)).await {
        Ok(chosen) => {
            session.status = status::BAD_GATEWAY;
            session.upstream = Some(chosen.socket);
            session.tries += 1;
            Some(chosen)
        }
        Err(reply) => {
            if session.tries == 0 {
                session.status = reply.status.as_u16();
                if let (ReplyBody::Error(text), Host::Upstream(_)) =
                    (&reply.body, &target.service.host)
                {
                    let (client, service) = (session.client, target.service.service.id);
                    tracing::error!(%client, %service, "{text}");
                }
            }
            None
        }
    }
}

/// Returns how TLS is spoken, if it is; nothing at all where it cannot be spoken as the service asks.
fn tls(service: &ServiceTarget, host: &str) -> Option<Option<PeerTls>> {
    let config = match &service.channel {
        Channel::Plain => return Some(None),
        Channel::Tls(config) => config.clone(),
        Channel::Unusable => return None,
    };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    match ServerName::try_from(name.to_owned()) {
        Ok(server_name) => Some(Some(PeerTls { config, server_name })),
        Err(_) => {
            tracing::error!(host, "the host of a TLS upstream is no server name");
            None
        }
    }
}
