//! Where a request goes and how long each step may take.

use std::fmt;
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
}

/// How to speak TLS to a peer.
#[derive(Clone)]
pub struct PeerTls {
    /// Trust, client certificate and protocol versions.
    pub config: Arc<ClientConfig>,
    /// The name sent as SNI and, where verification is on, checked.
    pub server_name: ServerName<'static>,
    /// Identity of `config`: connections made under one key are never used under another.
    pub key: u64,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = out.debug_struct("PeerTls");
        debug.field("server_name", &self.server_name).field("key", &self.key);
        debug.finish_non_exhaustive()
    }
}

/// What two requests must share to use one connection (reference gateway-3, D.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerKey {
    addr: SocketAddr,
    tls: Option<(u64, ServerName<'static>)>,
}

impl From<&PeerAddress> for PeerKey {
    fn from(peer: &PeerAddress) -> Self {
        let tls = peer.tls.as_ref().map(|tls| (tls.key, tls.server_name.clone()));
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
