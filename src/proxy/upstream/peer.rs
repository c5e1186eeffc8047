//! Where a request goes and how long each step may take.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;

/// One address of an upstream; connections are pooled by it.
#[derive(Clone, Debug)]
pub struct PeerAddress {
    /// IP address and port.
    pub addr: SocketAddr,
    /// Present when the upstream speaks TLS.
    pub tls: Option<PeerTls>,
    /// Whether it speaks HTTP/2, with or without TLS.
    pub http2: bool,
}

/// How to speak TLS to a peer.
#[derive(Clone)]
pub struct PeerTls {
    /// Trust, client certificate and protocols. Connections made with one are never used for
    /// another, be they equal.
    pub config: Arc<ClientConfig>,
    /// The name sent as SNI and, where verification is on, checked.
    pub server_name: ServerName<'static>,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = out.debug_struct("PeerTls");
        debug.field("server_name", &self.server_name);
        debug.finish_non_exhaustive()
    }
}

/// What two requests must share to use one connection (reference gateway-3, D.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerKey {
    addr: SocketAddr,
    tls: Option<(Same, ServerName<'static>)>,
}

/// Settings of TLS that equal themselves only; held, so that no others come to lie where they are.
#[derive(Clone, Debug)]
struct Same(Arc<ClientConfig>);

impl PartialEq for Same {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Same {}

impl Hash for Same {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl From<&PeerAddress> for PeerKey {
    fn from(peer: &PeerAddress) -> Self {
        let tls = peer.tls.as_ref().map(|tls| (Same(tls.config.clone()), tls.server_name.clone()));
        Self { addr: peer.addr, tls }
    }
}

/// The limits of one try, in milliseconds; each counts anew after progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the TCP connection, and again for the TLS handshake.
    pub connect_ms: u64,
    /// Between two successful writes of the request.
    pub write_ms: u64,
    /// Between two successful reads of the response.
    pub read_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 60_000, write_ms: 60_000, read_ms: 60_000 }
    }
}

impl Timeouts {
    pub(super) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(super) fn write(&self) -> Duration {
        Duration::from_millis(self.write_ms)
    }

    pub(super) fn read(&self) -> Duration {
        Duration::from_millis(self.read_ms)
    }
}

/// Bounds of a pool (reference gateway-3, D.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Idle connections kept per peer (`upstream_keepalive_pool_size`).
    pub idle_max: usize,
    /// Requests after which a connection is closed (`upstream_keepalive_max_requests`); 0 is
    /// unlimited.
    pub requests_max: u64,
    /// How long a connection may be idle (`upstream_keepalive_idle_timeout`).
    pub idle_timeout: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { idle_max: 512, requests_max: 10_000, idle_timeout: Duration::from_secs(60) }
    }
}
