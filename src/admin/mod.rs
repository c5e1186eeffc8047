//! The Admin API, generic over kinds, and the status API (reference gateway-2-admin-api.md).
//!
//! A request is read once (`call`), its path is resolved against the catalog (`place`), and one
//! handler per verb serves every kind (`read`, `entities`). Reads come from the head's config without
//! a lock, or from an older one (`?at=`); writes are decisions (`operation`) handed to the writer,
//! which appends them to the log: one a request, or many as one event (`batch`).
//!
//! Invariants:
//! - no code here knows a kind, but for the few in `place` whose paths Kong treats apart;
//! - errors become HTTP in `error` alone, and no inner cause is shown to the client;
//! - no document reaches a log line.
//!
//! To add an endpoint that is no entity: a variant of `place::Fixed`, a line in its table, and an
//! arm in `dispatch`.

pub mod auth;
mod batch;
mod body;
mod cache;
mod call;
pub mod client;
mod clustering;
mod config;
mod cors;
mod difference;
mod dispatch;
mod entities;
mod error;
mod etag;
mod events;
mod filter;
mod flatten;
mod force;
mod form;
pub mod health;
mod infer;
mod info;
mod list;
mod locate;
mod log_level;
pub mod metrics;
mod multipart;
mod node;
mod openapi;
mod operation;
mod place;
pub mod promotion;
mod read;
mod read_only;
mod reason;
mod reply;
mod rollback;
mod schemas;
pub mod serve;
mod snapshots;
pub mod status;
mod store;
mod tags;
#[cfg(test)]
mod tests;
mod upstream_metrics;

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use uuid::Uuid;

use self::auth::Auth;
use self::health::Balancers;
pub use self::reply::Tells;
use self::status::StatusSource;
use self::store::Store;
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::fleet::Fleet;
use crate::promotion::keeper::Keeper;
use crate::settings::Role;
use crate::telemetry;
use crate::writer::Writer;

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The largest request body that is read unless told otherwise, in bytes.
pub const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// What the Admin API is built of.
pub struct Parts {
    /// Where reads come from and writes go; it has the catalog of kinds and plugins.
    pub writer: Writer,
    /// The data planes; only a control plane has them.
    pub fleet: Option<Arc<Fleet>>,
    /// What data planes are to get; only a control plane has them.
    pub promotion: Option<Arc<Keeper>>,
    /// What `GET /` tells of the node.
    pub node: NodeInfo,
    /// What `GET /status` tells.
    pub status: Arc<StatusSource>,
    /// The log of the process.
    pub log: Arc<telemetry::Guard>,
    /// Who may call.
    pub auth: Arc<Auth>,
    /// What traffic is balanced by; it is set once the node carries any.
    pub balancers: Arc<OnceLock<Balancers>>,
    /// Time and ids.
    pub clock: Clock,
    /// What the operator can set.
    pub options: Options,
}

/// What `GET /` tells of the node.
#[derive(Clone)]
pub struct NodeInfo {
    /// The node's id.
    pub id: Uuid,
    /// What it does.
    pub role: Role,
    /// Its host name.
    pub hostname: String,
    /// The id of its process.
    pub pid: u32,
    /// Every setting, secrets masked already.
    pub configuration: Map<String, Value>,
}

/// What the operator can set.
#[derive(Clone)]
pub struct Options {
    /// The origins of the browser pages that may call; empty admits every origin.
    pub gui_origins: Vec<String>,
    /// What answers tell of how they came about.
    pub tells: Tells,
    /// The largest request body that is read, in bytes.
    pub body_bytes_max: usize,
    /// Whether the config comes from a file or `/config`, and entities cannot be written.
    pub database_off: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gui_origins: Vec::new(),
            tells: Tells { latency: true, server: true },
            body_bytes_max: BODY_BYTES_MAX,
            database_off: false,
        }
    }
}

/// A service that [`serve::serve`] puts on a listener.
pub type Api = axum::Router;

/// The Admin API of one node; a clone is another handle.
#[derive(Clone)]
pub struct Admin(Arc<Shared>);

/// What all handles share.
struct Shared {
    catalog: Arc<Catalog>,
    store: Store,
    fleet: Option<Arc<Fleet>>,
    promotion: Option<Arc<Keeper>>,
    node: NodeInfo,
    status: Arc<StatusSource>,
    log: Arc<telemetry::Guard>,
    auth: Arc<Auth>,
    balancers: Arc<OnceLock<Balancers>>,
    clock: Clock,
    options: Options,
}

impl Admin {
    /// Builds the API.
    pub fn new(parts: Parts) -> Self {
        let Parts { writer, fleet, promotion, node, status, log, auth, .. } = parts;
        let (balancers, clock, options) = (parts.balancers, parts.clock, parts.options);
        let catalog = writer.history().catalog().clone();
        let store = Store::new(writer, clock.clone(), options.database_off);
        Self(Arc::new(Shared {
            catalog,
            store,
            fleet,
            promotion,
            node,
            status,
            log,
            auth,
            balancers,
            clock,
            options,
        }))
    }

    /// Returns the service that answers every request.
    pub fn router(&self) -> axum::Router {
        axum::Router::new().fallback(dispatch::dispatch).with_state(self.clone())
    }
}
