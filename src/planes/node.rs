//! What both planes have in common: id, host name, cluster identity, what the status tells.

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use uuid::Uuid;

use super::listen;
use crate::clock::Clock;
use crate::pki::cluster::ClusterIdentity;
use crate::settings::Settings;
use crate::telemetry::counter::{CoreCounters, Counters, Snapshot};

/// Kong cuts host names there.
const HOSTNAME_LEN_MAX: usize = 253;

/// What counts connections and requests of a part of the node.
pub(super) type CountsReader = Box<dyn Fn() -> Snapshot + Send + Sync>;

/// Counts the connections and requests of the whole node; clones share the counts.
#[derive(Clone)]
pub(super) struct Counts {
    /// Those of the Admin and status APIs.
    apis: Arc<Counters>,
    /// Those of the proxy, once it is there.
    traffic: Arc<OnceLock<CountsReader>>,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self { apis: Counters::new(1), traffic: Arc::default() }
    }

    /// Returns what an API counts by.
    pub(super) fn api(&self) -> CoreCounters {
        self.apis.core(0)
    }

    /// Adds the proxy, which is there once.
    pub(super) fn add_traffic(&self, traffic: CountsReader) {
        // A second one would be a bug of the plane that starts it, and is not counted.
        let _ = self.traffic.set(traffic);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let traffic = self.traffic.get().map(|count| count()).unwrap_or_default();
        self.apis.snapshot() + traffic
    }
}

/// Returns the id of this node: the settings', else the one that its prefix keeps.
pub(super) fn id(settings: &Settings, clock: &Clock) -> Uuid {
    if let Some(id) = settings.node_id {
        return id;
    }
    let (id, warning) = settings.prefix.node_id(clock.id());
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    id
}

/// Returns the machine's host name.
pub(super) fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().chars().take(HOSTNAME_LEN_MAX).collect()
}

/// Reads the certificate and key of the cluster link.
pub(super) fn identity(settings: &Settings) -> anyhow::Result<ClusterIdentity> {
    let missing = "cluster certificate and key must be provided to use Hybrid mode";
    let certificate = settings.cluster.cert.as_ref().context(missing)?;
    let key = settings.cluster.cert_key.as_ref().context(missing)?;
    let (certificate, key) = (listen::text(certificate)?, listen::text(key)?);
    ClusterIdentity::shared(&certificate, &key).context("cluster_cert and cluster_cert_key")
}

/// Returns how much memory this process has in use, in bytes.
pub(super) fn memory_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
