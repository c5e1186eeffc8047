//! What the sessions of one core share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::access::Lines;
use super::server::CoreCounters;
use super::settings::StreamSettings;
use crate::balancer::dns::core::CoreResolver;
use crate::balancer::dns::resolver::Resolver;
use crate::clock::Clock;
use crate::domain::hash::ConfigHash;
use crate::domain::kinds::route::Route;
use crate::proxy::forward::TIMEOUT_MS;
use crate::proxy::listener::Ending;
use crate::proxy::settings::outside_port;
use crate::proxy::upstream::Buffers;
use crate::router::{NetView, Protocol};
use crate::runtime::{Handle, Reader, ServiceTarget};

/// One core.
pub(super) struct Core {
    pub(super) settings: StreamSettings,
    pub(super) resolver: CoreResolver,
    pub(super) clock: Clock,
    pub(super) buffers: Buffers,
    pub(super) lines: Option<Lines>,
    pub(super) counters: Arc<CoreCounters>,
    /// `None` while serving.
    pub(super) stop: watch::Receiver<Option<Ending>>,
    /// Told when the last session has ended.
    pub(super) emptied: Notify,
    runtime: Reader,
}

/// Where a session goes.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) route: Arc<Route>,
    pub(super) service: Arc<ServiceTarget>,
}

impl Target {
    /// Returns whether TLS passes through.
    pub(super) fn is_passthrough(&self) -> bool {
        self.route.protocols.iter().any(|protocol| protocol == "tls_passthrough")
    }

    /// Returns how long nothing may move either way: Kong has one limit for both, the service two,
    /// of which the longer holds.
    pub(super) fn idle(&self) -> Duration {
        let service = &self.service.service;
        let (read, write) = (service.read_timeout, service.write_timeout);
        let longest = read.unwrap_or(TIMEOUT_MS).max(write.unwrap_or(TIMEOUT_MS));
        Duration::from_millis(longest)
    }
}

/// What a session is matched by.
pub(super) struct Wanted<'a> {
    pub(super) protocol: Protocol,
    pub(super) sni: Option<&'a str>,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
}

impl Core {
    pub(super) fn new(
        (handle, names): (&Handle, Resolver),
        settings: StreamSettings,
        clock: Clock,
        counters: Arc<CoreCounters>,
        stop: watch::Receiver<Option<Ending>>,
    ) -> Self {
        let log = settings.access_log.clone();
        let lines = log.map(|log| Lines::new(log, settings.access_format));
        let (buffers, emptied) = Default::default();
        let (runtime, resolver) = (handle.reader(), CoreResolver::new(names));
        Self { settings, resolver, clock, buffers, lines, counters, stop, emptied, runtime }
    }

    /// Finds where a session goes by the config in force; the error is why it goes nowhere. The hash
    /// is that config's.
    pub(super) fn find(&self, wanted: &Wanted<'_>) -> (ConfigHash, Result<Target, &'static str>) {
        let runtime = self.runtime.load();
        let port = outside_port(&self.settings.port_maps, wanted.local.port());
        let view = NetView {
            protocol: wanted.protocol,
            sni: wanted.sni,
            source: wanted.client,
            destination: SocketAddr::new(wanted.local.ip(), port),
        };
        let found = runtime.router.matched_stream(&view);
        let found = found.and_then(|matched| runtime.destination(matched.slot));
        let target = match found {
            None => Err("no Route found with those values"),
            Some(found) if found.has_stream_plugins => {
                Err("a plugin applies that this version does not run on streams")
            }
            Some(found) => match &found.service {
                None => Err("no Service found with those values"),
                Some(service) => {
                    Ok(Target { route: found.route.clone(), service: service.clone() })
                }
            },
        };
        (runtime.config_hash, target)
    }
}
