//! The typed parts of [`super::Settings`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::listener::Listener;
use super::pem::{Pem, PemPair};
use super::postgres::Postgres;
use crate::domain::role::AdminRole;

/// What a node does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Both planes in one node.
    Traditional,
    /// Holds the configuration and serves it.
    ControlPlane,
    /// Serves traffic.
    DataPlane,
}

impl Role {
    /// Returns the word kong.conf has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traditional => "traditional",
            Self::ControlPlane => "control_plane",
            Self::DataPlane => "data_plane",
        }
    }

    /// Returns whether it opens proxy listeners.
    pub fn serves_traffic(self) -> bool {
        self != Self::ControlPlane
    }

    /// Returns whether it has an Admin API.
    pub fn has_admin(self) -> bool {
        self != Self::DataPlane
    }
}

/// Where the log of events lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Database {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A Postgres database.
    Postgres(Box<Postgres>),
    /// Nowhere: the configuration comes from a file or from a control plane.
    Off,
}

/// A configuration given at start; the file wins when both are set.
#[derive(Clone, Default)]
pub struct Declarative {
    /// A file.
    pub file: Option<PathBuf>,
    /// The text itself; may hold secrets.
    pub text: Option<String>,
}

/// The least severe line that is logged.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names are nginx's words")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warn,
    Error,
    Crit,
    Alert,
    Emerg,
}

impl LogLevel {
    /// Every level with its word, most talkative first.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Notice, "notice"),
        (Self::Warn, "warn"),
        (Self::Error, "error"),
        (Self::Crit, "crit"),
        (Self::Alert, "alert"),
        (Self::Emerg, "emerg"),
    ];

    /// Returns the level of that name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|it| it.1 == word).map(|it| it.0)
    }

    /// Returns the word kong.conf has for it.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Which stored snapshots stay in the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotKeep {
    /// So many of the newest.
    pub count: usize,
    /// Those of events that are younger.
    pub age: Duration,
}

/// How the two planes trust each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClusterMtls {
    /// Both hold the same certificate.
    Shared,
    /// Certificates of one authority.
    Pki,
}

/// Whether a control plane asks if a data plane's certificate was revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ocsp {
    /// Never.
    Off,
    /// Always; no answer refuses the data plane.
    On,
    /// Always; no answer lets the data plane in.
    Optional,
}

/// Which dialect a data plane speaks to its control planes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClusterProtocol {
    /// The native one, or Kong's where a control plane has no native path.
    Auto,
    /// The native one.
    Native,
    /// Kong's.
    Kong,
}

/// Links between control plane and data planes (reference hybrid.md, section 1.2).
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where a control plane listens for data planes; always TLS.
    pub listen: Vec<Listener>,
    /// The control planes of a data plane, each `host:port`, in the order to try.
    pub control_planes: Vec<String>,
    /// How the two planes trust each other.
    pub mtls: ClusterMtls,
    /// The node's certificate; present unless the role is traditional.
    pub cert: Option<Pem>,
    /// Its key.
    pub cert_key: Option<Pem>,
    /// The authorities of pki mode, one or more in a file.
    pub ca_cert: Option<Pem>,
    /// Certificates that shared mode accepts beside `cert`, one or more in a file.
    pub trusted_certs: Vec<Pem>,
    /// The name a data plane expects of the control plane in pki mode.
    pub server_name: Option<String>,
    /// Revocation checks of pki mode.
    pub ocsp: Ocsp,
    /// How long the row of a silent data plane is kept.
    pub data_plane_purge_delay: Duration,
    /// The largest message in bytes, compressed, both directions.
    pub max_payload: u64,
    /// The forward proxy a data plane goes through, if it is to use one; may hold credentials.
    pub proxy_server: Option<ProxyServer>,
    /// What a data plane tells of itself.
    pub dp_labels: Vec<(String, String)>,
    /// Which dialect a data plane speaks.
    pub protocol: ClusterProtocol,
    /// Whether a control plane lets in data planes of Kong 2.8.
    pub legacy_data_planes: bool,
    /// Where a data plane looks for content before it asks a control plane: `http://`, `https://`,
    /// `s3://` or `file://`.
    pub snapshot_mirror: Option<String>,
    /// The least time between two pushes to a Kong v1 data plane.
    pub db_update_frequency: Duration,
}

/// A forward proxy.
#[derive(Clone)]
pub struct ProxyServer {
    /// Its URL, with credentials if it needs them.
    pub url: String,
    /// Whether its certificate is checked.
    pub ssl_verify: bool,
}

impl std::fmt::Debug for ProxyServer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ProxyServer(******)")
    }
}

/// The proxy's side (reference hybrid.md, section 1.3).
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where traffic arrives.
    pub listen: Vec<Listener>,
    /// The headers added to answers, by Kong's tokens in lower case.
    pub headers: Vec<String>,
    /// The headers added to upstream requests, by Kong's tokens in lower case.
    pub headers_upstream: Vec<String>,
    /// Peers whose forwarding headers are believed.
    pub trusted_ips: Vec<TrustedAddress>,
    /// The header that names the client when the peer is trusted.
    pub real_ip_header: String,
    /// Whether the last untrusted address of that header is taken.
    pub real_ip_recursive: bool,
    /// Ports as clients see them, by the port listened on.
    pub port_maps: Vec<(u16, u16)>,
    /// The largest request body in bytes; 0 for any.
    pub client_max_body_size: u64,
    /// How much of a request body is held in memory, in bytes.
    pub client_body_buffer_size: u64,
    /// The connections kept open to upstreams.
    pub upstream_keepalive: UpstreamKeepalive,
    /// The type of error bodies when the client names none.
    pub error_default_type: String,
    /// The files of error texts of the operator's own, by `json`, `plain`, `html` and `xml`.
    pub error_templates: Vec<(&'static str, PathBuf)>,
    /// The charset of texts whose upstream does not say it.
    pub charset: Option<String>,
    /// Whether and to whom it is told where the time of a request went.
    pub request_debug: Option<RequestDebug>,
    /// Whether the `Kong-Debug` header is heard.
    pub allow_debug_header: bool,
    /// A path below the prefix, an absolute one, or `off`.
    pub access_log: String,
    /// How lines of it look.
    pub access_format: AccessFormat,
    /// As `access_log`.
    pub error_log: String,
}

/// Request debugging.
#[derive(Clone)]
pub struct RequestDebug {
    /// What clients on other machines show; made anew where none is said.
    pub token: Option<String>,
}

impl std::fmt::Debug for RequestDebug {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("RequestDebug(******)")
    }
}

/// How lines of the access log look; the word behind its path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AccessFormat {
    /// nginx's `combined` with the request id, and what config was in force (`kong_log_format`).
    #[default]
    Kong,
    /// nginx's `combined`.
    Combined,
    /// One JSON object a line.
    Json,
}

/// Streams: what is proxied below HTTP.
#[derive(Clone, Debug)]
pub struct Streams {
    /// Where they arrive.
    pub listen: Vec<Listener>,
    /// A path below the prefix, an absolute one, or `off`.
    pub access_log: String,
    /// How lines of it look.
    pub access_format: StreamFormat,
}

/// How lines of the access log of streams look; the word behind its path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StreamFormat {
    /// Kong's `basic`.
    #[default]
    Basic,
    /// One JSON object a line.
    Json,
}

/// The connections kept open to upstreams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UpstreamKeepalive {
    /// How many idle connections are kept for one upstream; 0 keeps none.
    pub pool_size: u32,
    /// How many requests one connection serves; 0 for any number.
    pub max_requests: u64,
    /// How long an idle connection is kept; zero for ever.
    pub idle_timeout: Duration,
}

/// Peers whose forwarding headers are believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TrustedAddress {
    /// A network: the first `bits` of the address count.
    Network {
        /// Any address of it.
        ip: IpAddr,
        /// How many leading bits count.
        bits: u8,
    },
    /// Peers on Unix sockets.
    Unix,
}

/// The Admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub listen: Vec<Listener>,
    /// Whether it asks for tokens.
    pub auth: bool,
    /// Which clients show a certificate; none are asked for one by default.
    pub clients: Option<AdminClients>,
    /// The largest request body in bytes.
    pub client_max_body_size: u64,
    /// The origins of `admin_gui_url`: pages of others may not read answers; none admits all.
    pub gui_origins: Vec<String>,
    /// A path below the prefix, an absolute one, or `off`.
    pub access_log: String,
    /// As `access_log`.
    pub error_log: String,
}

/// The clients of the Admin API that show a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdminClients {
    /// Who must vouch for them.
    pub ca: Pem,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
    /// What they may do, by the common name of their certificate.
    pub roles: Vec<(String, AdminRole)>,
}

/// The Status API.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it listens.
    pub listen: Vec<Listener>,
    /// A path below the prefix, an absolute one, or `off`.
    pub access_log: String,
    /// As `access_log`.
    pub error_log: String,
}

/// Certificates and trust beyond the cluster's.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Of the proxy's listeners; empty asks for a self-signed one.
    pub proxy: Vec<PemPair>,
    /// Of the Admin API's listeners.
    pub admin: Vec<PemPair>,
    /// Of the Status API's listeners.
    pub status: Vec<PemPair>,
    /// Shown to upstreams that ask.
    pub client: Option<PemPair>,
    /// Trusted authorities; `None` stands for those of the system.
    pub trusted: Vec<Option<Pem>>,
    /// How many intermediates a chain may have.
    pub verify_depth: u32,
    /// One of `modern`, `intermediate`, `old`, `fips`, `custom`.
    pub cipher_suite: String,
    /// The protocol versions offered, such as `TLSv1.2`.
    pub protocols: Vec<String>,
    /// The list of ciphers, as OpenSSL writes it, that counts with `custom`.
    pub ciphers: Option<String>,
    /// Whether our order of ciphers decides with `custom`.
    pub prefer_server_ciphers: bool,
    /// Whether sessions can be resumed by tickets.
    pub session_tickets: bool,
    /// How long a session can be resumed.
    pub session_timeout: Duration,
}

/// Name resolution.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Name servers, `ip` or `ip:port`; empty takes the system's.
    pub resolver: Vec<String>,
    /// The hosts file.
    pub hosts_file: PathBuf,
    /// The record types in the order to try.
    pub order: Vec<String>,
    /// Overrides the time an answer is valid.
    pub valid_ttl: Option<Duration>,
    /// How long an expired answer may still be used while it is renewed.
    pub stale_ttl: Duration,
    /// How long an empty answer is kept.
    pub not_found_ttl: Duration,
    /// How long a failure is kept.
    pub error_ttl: Duration,
    /// How many names are remembered.
    pub cache_size: usize,
    /// Whether only names such as `_http._tcp.a` are asked for by SRV.
    pub srv_by_form: bool,
}
