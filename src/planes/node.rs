//! What both planes have in common: id, host name, cluster identity, what the status tells.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use uuid::Uuid;

use super::{listen, trust};
use crate::clock::Clock;
use crate::pki::cluster::{ClusterIdentity, PkiTrust};
use crate::settings::{ClusterMtls, Role, Settings};
use crate::telemetry::counter::{CoreCounters, Counters, Snapshot};

/// Kong cuts host names there.
const HOSTNAME_LEN_MAX: usize = 253;

/// How many intermediates a control plane accepts in a data plane's chain, as Kong's manual says.
const INTERMEDIATES_MAX: usize = 3;

/// What counts connections and requests of a part of the node.
pub(super) type CountsReader = Box<dyn Fn() -> Snapshot + Send + Sync>;

/// Counts the connections and requests of the whole node; clones share the counts.
#[derive(Clone)]
pub(super) struct Counts {
    /// Those of the Admin and status APIs.
    apis: Arc<Counters>,
    /// Those of the proxy, of each that took the place of another, and of an earlier process.
    traffic: Arc<Mutex<Vec<CountsReader>>>,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self { apis: Counters::new(1), traffic: Arc::default() }
    }

    /// Returns what an API counts by.
    pub(super) fn api(&self) -> CoreCounters {
        self.apis.core(0)
    }

    /// Adds what something else counts, for good.
    pub(super) fn add(&self, traffic: CountsReader) {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner).push(traffic);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.iter().fold(self.apis.snapshot(), |sum, count| sum + count())
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

/// Reads the certificate and key of the cluster link, and whom the node trusts there.
pub(super) fn identity(settings: &Settings) -> anyhow::Result<ClusterIdentity> {
    let cluster = &settings.cluster;
    let missing = "cluster certificate and key must be provided to use Hybrid mode";
    let certificate = cluster.cert.as_ref().context(missing)?;
    let key = cluster.cert_key.as_ref().context(missing)?;
    let (certificate, key) = (listen::text(certificate)?, listen::text(key)?);
    if cluster.mtls == ClusterMtls::Pki {
        let trust = pki_trust(settings)?;
        return ClusterIdentity::pki(&certificate, &key, trust)
            .context("cluster_cert, cluster_cert_key and cluster_ca_cert");
    }
    let own = ClusterIdentity::shared(&certificate, &key);
    let own = own.context("cluster_cert and cluster_cert_key")?;
    let pinned: Vec<String> =
        cluster.trusted_certs.iter().map(listen::text).collect::<Result<_, _>>()?;
    own.trusting(&pinned).context("cluster_trusted_cert")
}

/// Whom a node in pki mode trusts (reference hybrid.md, sections 3.1 to 3.3): a control plane the
/// cluster's authorities alone.
fn pki_trust(settings: &Settings) -> anyhow::Result<PkiTrust> {
    let is_data_plane = settings.role == Role::DataPlane;
    let authorities = settings.cluster.ca_cert.iter().map(listen::text);
    let verify_depth = usize::try_from(settings.tls.verify_depth).unwrap_or(usize::MAX);
    Ok(PkiTrust {
        authorities: authorities.collect::<Result<_, _>>()?,
        more: if is_data_plane { trust::pems(settings)? } else { Vec::new() },
        server_name: settings.cluster.server_name.clone().filter(|_| is_data_plane),
        intermediates_max: if is_data_plane { verify_depth } else { INTERMEDIATES_MAX },
    })
}

/// Returns how much memory this process has in use, in bytes.
pub(super) fn memory_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
