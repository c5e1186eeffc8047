//! What the status API of a node that carries traffic tells.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::node::{self, Counts, CountsReader};
use super::served::Served;
use crate::admin::health::Balancers;
use crate::admin::metrics::MetricsSource;
use crate::admin::status::{StatusSource, Unready, Upstreams};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::proxy::listener::ProxyServer;
use crate::proxy::stream::StreamServer;
use crate::runtime::Handle;
use crate::settings::Settings;
use crate::telemetry::counter;

/// The hash of a node that has not got any config, as Kong writes it.
const NO_CONFIG: &str = "00000000000000000000000000000000";

/// Tells whether a node's database answers.
pub(super) type Reachable = Arc<dyn Fn() -> bool + Send + Sync>;

/// Returns what counts the traffic of the proxy. As nginx, it counts streams among connections, but
/// neither as reading, writing nor waiting.
pub(super) fn traffic(server: &ProxyServer, streams: Option<&StreamServer>) -> CountsReader {
    let counts = server.counts_reader();
    let streams = streams.map(StreamServer::counts_reader);
    Box::new(move || {
        let (counts, streams) = (counts(), streams.as_ref().map(|it| it()));
        let of_streams = streams.map(|it| counter::Streams {
            accepted: it.accepted,
            handled: it.handled,
            active: it.active,
        });
        let streams = of_streams.unwrap_or_default();
        counter::Snapshot {
            connections_accepted: counts.accepted + streams.accepted,
            connections_handled: counts.handled + streams.handled,
            connections_active: counts.active + streams.active,
            connections_reading: 0,
            connections_writing: counts.writing,
            connections_waiting: counts.active.saturating_sub(counts.writing),
            total_requests: counts.requests,
            streams: of_streams,
        }
    })
}

/// Returns what the status tells; a node with a database tells of that, any other of its
/// configuration.
///
/// A node is ready as soon as it got a configuration, were it an empty one; the control plane has
/// no part in it. Routers and plugin chains are there before a configuration is.
pub(super) fn source(
    served: &Served,
    counts: &Counts,
    database: Option<Reachable>,
    metrics: MetricsSource,
) -> StatusSource {
    let (named, ready, counts) = (served.clone(), served.clone(), counts.clone());
    let reachable = database.clone();
    let hash = move || match named.has_config() {
        true => named.handle.load().config_hash.to_hex(),
        false => NO_CONFIG.to_owned(),
    };
    StatusSource {
        counters: Box::new(move || counts.snapshot()),
        memory_bytes: Box::new(node::memory_bytes),
        configuration_hash: database.is_none().then(|| Box::new(hash) as _),
        database_reachable: database.map(|it| Box::new(move || it()) as _),
        readiness: Box::new(move || match &reachable {
            Some(reachable) if reachable() => Ok(()),
            Some(_) => Err(Unready::Database),
            None if ready.has_config() => Ok(()),
            None => Err(Unready::EmptyConfiguration),
        }),
        metrics,
        draining: AtomicBool::new(false),
    }
}

/// Returns what the status API tells of the upstreams that are served.
pub(super) fn upstreams(
    settings: &Settings,
    catalog: &Arc<Catalog>,
    served: &Served,
    clock: &Clock,
) -> Upstreams {
    let snapshot = served.snapshot.clone();
    Upstreams {
        catalog: catalog.clone(),
        snapshot: Box::new(move || snapshot.borrow().clone()),
        balancers: balancers(&served.handle),
        node_id: node::id(settings, clock),
    }
}

/// Returns the balancers of the runtime in force.
pub(super) fn balancers(handle: &Handle) -> Balancers {
    let (one, all) = (handle.clone(), handle.clone());
    Balancers {
        find: Box::new(move |upstream| one.load().balancer(upstream).cloned()),
        all: Box::new(move || all.load().balancers().cloned().collect()),
    }
}
