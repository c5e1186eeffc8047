//! `/metrics`: the node and the cluster, for Prometheus.
//!
//! What Kong's prometheus plugin tells of a node under the same names (reference gateway-4, section
//! F), and ours under `hybridctl_`. What it tells of routes and consumers comes with that plugin.

use std::sync::{Arc, OnceLock};

use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use uuid::Uuid;

use super::health::Balancers;
use super::status::StatusSource;
use super::{reply, upstream_metrics};
use crate::clock::Clock;
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::fleet::{DataPlaneRow, Fleet};
use crate::settings::KONG_VERSION;
use crate::telemetry::counter::{Snapshot, Streams};
use crate::telemetry::exposition::{CONTENT_TYPE, Exposition};

/// Where the metrics of the cluster come from; each closure is asked on every request and must not
/// block.
pub struct MetricsSource {
    /// The node's id.
    pub node_id: Uuid,
    /// Names the config that is in force here.
    pub config: Box<dyn Fn() -> ConfigHash + Send + Sync>,
    /// Tells the last position of the log; for nodes that have one.
    pub seq: Option<Box<dyn Fn() -> Seq + Send + Sync>>,
    /// Tells when the node's certificate of the cluster expires; for nodes that have one.
    pub certificate_end: Option<Box<dyn Fn() -> DateTime<Utc> + Send + Sync>>,
    /// Tells whether there is a session with a control plane; for data planes.
    pub is_connected: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    /// The data planes; for control planes.
    pub fleet: Option<Arc<Fleet>>,
    /// What balances traffic; empty on a node that carries none.
    pub balancers: Arc<OnceLock<Balancers>>,
    /// By which rows of the fleet expire.
    pub clock: Clock,
}

/// Returns the page.
pub(super) fn answer(source: &StatusSource) -> Response {
    let mut page = Exposition::default();
    node(source, &mut page);
    cluster(&source.metrics, &mut page);
    if let Some(balancers) = source.metrics.balancers.get() {
        upstream_metrics::write(&(balancers.all)(), &mut page);
    }
    if let Some(fleet) = &source.metrics.fleet {
        data_planes(&fleet.rows(source.metrics.clock.now()), &mut page);
    }
    reply::text(StatusCode::OK, page.finish(), CONTENT_TYPE)
}

fn node(source: &StatusSource, page: &mut Exposition) {
    let node_id = source.metrics.node_id.to_string();
    let labels = [("node_id", node_id.as_str()), ("version", KONG_VERSION)];
    page.gauge("kong_node_info", "The node and its version").sample(&labels, 1.0);
    if let Some(is_reachable) = &source.database_reachable {
        let value = f64::from(u8::from(is_reachable()));
        page.gauge("kong_datastore_reachable", "Whether the database answers (1) or not (0)")
            .sample(&[], value);
    }
    let counters = (source.counters)();
    let subsystems = subsystems(&counters);
    let mut connections = page.gauge("kong_nginx_connections_total", "Client connections by state");
    for (subsystem, counters) in &subsystems {
        for (name, count) in counters.fields() {
            if let Some(state) = name.strip_prefix("connections_") {
                let labels =
                    [("node_id", node_id.as_str()), ("subsystem", subsystem), ("state", state)];
                connections.sample(&labels, count as f64);
            }
        }
    }
    let mut requests = page.gauge("kong_nginx_requests_total", "Requests since the start");
    for (subsystem, counters) in &subsystems {
        let labels = [("node_id", node_id.as_str()), ("subsystem", subsystem)];
        requests.sample(&labels, counters.total_requests as f64);
    }
    page.gauge("hybridctl_memory_bytes", "Resident memory of the process")
        .sample(&[], (source.memory_bytes)() as f64);
}

/// Parts the counts of a node. A node with listeners for streams has Kong's rows of both subsystems, but
/// each with its own connections, where nginx knows their sum only.
fn subsystems(all: &Snapshot) -> Vec<(&'static str, Snapshot)> {
    let Some(Streams { accepted, handled, active }) = all.streams else {
        return vec![("http", *all)];
    };
    // Counts are not taken at one instant.
    let http = Snapshot {
        connections_accepted: all.connections_accepted.saturating_sub(accepted),
        connections_handled: all.connections_handled.saturating_sub(handled),
        connections_active: all.connections_active.saturating_sub(active),
        ..*all
    };
    let stream = Snapshot {
        connections_accepted: accepted,
        connections_handled: handled,
        connections_active: active,
        ..Snapshot::default()
    };
    vec![("http", http), ("stream", stream)]
}

fn cluster(source: &MetricsSource, page: &mut Exposition) {
    let hash = (source.config)().to_string();
    page.gauge("hybridctl_config_info", "The config in force")
        .sample(&[("config_hash", hash.as_str())], 1.0);
    if let Some(seq) = &source.seq {
        page.counter("hybridctl_log_seq", "The last position of the log")
            .sample(&[], seq().0 as f64);
    }
    if let Some(is_connected) = &source.is_connected {
        let value = f64::from(u8::from(is_connected()));
        let help = "Whether there is a session with a control plane (1) or not (0)";
        page.gauge("hybridctl_control_plane_connected", help).sample(&[], value);
    }
    if let Some(end) = &source.certificate_end {
        let (name, help) = match source.fleet {
            Some(_) => (
                "hybridctl_cluster_cert_expiry_timestamp",
                "When this node's cluster_cert expires, in seconds since 1970",
            ),
            // What Kong's data planes call theirs.
            None => (CERTIFICATE_END, CERTIFICATE_END_HELP),
        };
        page.gauge(name, help).sample(&[], end().timestamp() as f64);
    }
}

const CERTIFICATE_END: &str = "kong_data_plane_cluster_cert_expiry_timestamp";
const CERTIFICATE_END_HELP: &str =
    "When the certificate of a data plane expires, in seconds since 1970";

/// How many digits of a hash Kong has in a number.
const HASH_DIGITS: usize = 32;

/// One metric of data planes: its name, what it means, and its value if there is one.
type OfDataPlane = (&'static str, &'static str, fn(&DataPlaneRow) -> Option<f64>);

const OF_DATA_PLANES: &[OfDataPlane] = &[
    (
        "kong_data_plane_last_seen",
        "When the data plane was last heard of, in seconds since 1970",
        |row| Some(row.last_seen.timestamp() as f64),
    ),
    ("kong_data_plane_config_hash", "What the data plane runs, as a number", |row| {
        let digits = row.config_hash.get(..HASH_DIGITS)?;
        Some(u128::from_str_radix(digits, 16).ok()? as f64)
    }),
    ("kong_data_plane_version_compatible", "Whether the data plane can be served (1)", |row| {
        Some(f64::from(u8::from(!is_incompatible(row))))
    }),
    (CERTIFICATE_END, CERTIFICATE_END_HELP, |row| row.cert_expires_at.map(|at| at as f64)),
    ("hybridctl_data_plane_connected", "Whether the data plane is connected (1)", |row| {
        Some(f64::from(u8::from(row.connected)))
    }),
    ("hybridctl_data_plane_applied_seq", "The log position that the data plane runs", |row| {
        row.applied_seq.map(|seq| seq.0 as f64)
    }),
    ("hybridctl_data_plane_rejects", "Whether the data plane refused the newest config", |row| {
        Some(f64::from(u8::from(row.rejected.is_some())))
    }),
    (
        "hybridctl_data_plane_lag_milliseconds",
        "How long the last config took from announcement to applied",
        |row| row.lag_ms.map(|lag| lag as f64),
    ),
];

fn data_planes(rows: &[DataPlaneRow], page: &mut Exposition) {
    for (name, help, value) in OF_DATA_PLANES {
        let mut family = page.gauge(name, help);
        for row in rows {
            let Some(value) = value(row) else { continue };
            let (id, ip) = (row.id.to_string(), row.ip.to_string());
            let mut labels = vec![
                ("node_id", id.as_str()),
                ("hostname", row.hostname.as_str()),
                ("ip", ip.as_str()),
            ];
            if *name == "kong_data_plane_version_compatible" {
                labels.push(("kong_version", row.version.as_deref().unwrap_or_default()));
            }
            family.sample(&labels, value);
        }
    }
}

/// The statuses that Kong counts as incompatible.
fn is_incompatible(row: &DataPlaneRow) -> bool {
    let counted =
        ["kong_version_incompatible", "plugin_set_incompatible", "plugin_version_incompatible"];
    counted.contains(&row.sync_status)
}
