//! The node's static settings: kong.conf, `KONG_*` variables, validation as Kong does it.
//!
//! Text is layered (`source`), typed by the table (`values`), judged (`validate`), and laid out in
//! one plain struct (`build`). Facts follow reference hybrid.md, section 1.
//!
//! Invariants:
//! - the environment comes in as a map; only [`Sources::of_process`] reads the real one;
//! - a [`Settings`] value passed every check, and all failures are reported at once;
//! - no secret is in `Debug` output, in [`Settings::to_json`], or in `.kong_env` by our doing: a
//!   vault reference stays a reference there.
//!
//! To add a property: a line in `table`, and if it is honoured a field here and a line in `build`.

mod build;
mod error;
mod file;
mod layout;
mod listener;
mod pem;
mod postgres;
mod prefix;
mod property;
mod reference;
mod reload;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod validate;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

pub use self::error::SettingsError;
pub use self::layout::{
    AccessFormat, Admin, AdminClients, Cluster, ClusterMtls, ClusterProtocol, Database,
    Declarative, Dns, LogLevel, Ocsp, Proxy, ProxyServer, Role, SnapshotKeep, Status, StreamFormat,
    Streams, Tls, TrustedAddress, UpstreamKeepalive,
};
pub use self::listener::{Keepalive, Listener};
pub use self::pem::{Pem, PemPair};
pub use self::postgres::{Postgres, PostgresTls};
pub use self::prefix::Prefix;
pub use self::property::{Kind, Property, Support};
use self::source::Raw;
pub use self::source::Sources;
pub use self::table::ALL as PROPERTIES;
use self::values::{Value, Values};
use crate::domain::catalog::UnsupportedPlugins;
use crate::domain::kinds::route::Flavour;

/// The level of Kong's Admin API and file format that this product implements.
pub const KONG_VERSION: &str = "3.9.1";

/// The settings of one node, checked.
#[derive(Clone)]
pub struct Settings {
    /// The directory the node lives in.
    pub prefix: Prefix,
    /// What the node does.
    pub role: Role,
    /// The id the user gave the node; see [`Prefix::node_id`] for the one it keeps.
    pub node_id: Option<uuid::Uuid>,
    /// The least severe line that is logged.
    pub log_level: LogLevel,
    /// Where the log of events lives.
    pub database: Database,
    /// Which stored snapshots stay there.
    pub snapshot_keep: SnapshotKeep,
    /// A configuration given as a file or as text.
    pub declarative: Declarative,
    /// How many proxy workers run.
    pub worker_processes: usize,
    /// Whether `start` leaves the node in the background.
    pub daemon: bool,
    /// The plugins that may be used: names, or `bundled`.
    pub plugins: Vec<String>,
    /// What becomes of enabled plugins that this version has no handler for.
    pub unsupported_plugins: UnsupportedPlugins,
    /// Whether addresses that are down stay so over a restart.
    pub keeps_health: bool,
    /// How long an address of an upstream that comes, or comes back, takes to its whole share.
    pub upstream_slow_start: std::time::Duration,
    /// How routes are written and matched.
    pub router_flavour: Flavour,
    /// The vaults that may be used: names, or `bundled`.
    pub vaults: Vec<String>,
    /// The environment vault's default prefix for variable names.
    pub vault_env_prefix: Option<String>,
    /// Links between control plane and data planes.
    pub cluster: Cluster,
    /// The proxy's side.
    pub proxy: Proxy,
    /// What is proxied below HTTP.
    pub streams: Streams,
    /// The Admin API.
    pub admin: Admin,
    /// The Status API.
    pub status: Status,
    /// Certificates and trust beyond the cluster's.
    pub tls: Tls,
    /// Name resolution.
    pub dns: Dns,
    /// What is odd but no error, for the user to read once.
    pub warnings: Vec<String>,
    values: Values,
}

impl Settings {
    /// Loads and checks the settings: defaults < file < environment < command line.
    ///
    /// # Errors
    /// A missing or unreadable file, or everything that is wrong with the values.
    pub fn load(sources: &Sources) -> Result<Self, SettingsError> {
        Self::from_raw(sources.layer()?, &sources.env)
    }

    /// Loads the settings of the node that lives in `prefix`: its `.kong_env` alone.
    ///
    /// `env` only serves vault references.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn of_node(prefix: &Prefix, env: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let mut raw = Raw::default();
        raw.read_file(&prefix.kong_env())?;
        // A prefix that was copied or moved still names its old place.
        raw.set.insert("prefix".to_owned(), prefix.path().display().to_string());
        Self::from_raw(raw, env)
    }

    /// Returns the prefix that the sources name, without checking anything else.
    ///
    /// # Errors
    /// A missing or unreadable file.
    pub fn find_prefix(sources: &Sources) -> Result<Prefix, SettingsError> {
        let raw = sources.layer()?;
        let named = raw.set.get("prefix").filter(|it| !it.is_empty());
        let default = || table::find("prefix").and_then(|it| it.default).unwrap_or(".");
        Ok(Prefix::new(named.map_or_else(default, String::as_str)))
    }

    /// Makes the prefix ready for a node: directories, inline certificates as files, `.kong_env`.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub fn prepare(&mut self) -> io::Result<()> {
        self.prefix.create()?;
        self.settle_paths()?;
        self.prefix.write_env(&self.values)
    }

    /// Returns every property for the Admin API: secrets masked, references as references.
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut all = self.values.masked();
        all.insert("prefix".to_owned(), self.prefix.path().display().to_string().into());
        let listeners = [
            ("proxy_listeners", &self.proxy.listen),
            ("admin_listeners", &self.admin.listen),
            ("status_listeners", &self.status.listen),
            ("cluster_listeners", &self.cluster.listen),
        ];
        for (name, listeners) in listeners {
            all.insert(name.to_owned(), listeners.iter().map(listener_json).collect());
        }
        let ssl = |listeners: &[Listener]| listeners.iter().any(|listener| listener.ssl);
        let streams: serde_json::Value =
            self.streams.listen.iter().map(stream_listener_json).collect();
        let derived: [(&str, serde_json::Value); 8] = [
            // It is not served, so there are none.
            ("admin_gui_listeners", serde_json::json!([])),
            ("stream_listeners", streams),
            ("proxy_ssl_enabled", ssl(&self.proxy.listen).into()),
            ("stream_proxy_ssl_enabled", ssl(&self.streams.listen).into()),
            ("admin_ssl_enabled", ssl(&self.admin.listen).into()),
            ("status_ssl_enabled", ssl(&self.status.listen).into()),
            ("kong_env", self.prefix.join(".kong_env").display().to_string().into()),
            ("nginx_pid", self.prefix.join("pids/nginx.pid").display().to_string().into()),
        ];
        all.extend(derived.map(|(name, value)| (name.to_owned(), value)));
        all
    }

    /// Returns every property as a line for `--vv`, sorted, secrets masked.
    pub fn dump(&self) -> Vec<String> {
        let all = self.values.masked();
        let line = |(name, value): (&String, &serde_json::Value)| match value {
            serde_json::Value::String(text) => format!("{name} = \"{text}\""),
            other => format!("{name} = {other}"),
        };
        let mut lines: Vec<String> =
            all.iter().filter(|(_, value)| !value.is_null()).map(line).collect();
        lines.sort();
        lines
    }

    fn settle_paths(&mut self) -> io::Result<()> {
        let (prefix, values) = (&self.prefix, &mut self.values);
        let singles = [
            ("cluster_cert", "cluster.crt", self.cluster.cert.as_mut()),
            ("cluster_cert_key", "cluster.key", self.cluster.cert_key.as_mut()),
            ("cluster_ca_cert", "cluster-ca.crt", self.cluster.ca_cert.as_mut()),
        ];
        let client_ca = self.admin.clients.as_mut().map(|clients| &mut clients.ca);
        let client_ca = ("admin_ssl_client_certificate", "admin-client-ca.crt", client_ca);
        for (name, target, pem) in singles.into_iter().chain([client_ca]) {
            if let Some(pem) = pem {
                settle(prefix, values, name, target, pem)?;
            }
        }
        let pg_pair = match &mut self.database {
            Database::Postgres(server) => server.client.as_mut(),
            _ => None,
        };
        for (name, target, pair) in
            [("client_ssl", "client", self.tls.client.as_mut()), ("pg_ssl", "pg", pg_pair)]
        {
            let Some(pair) = pair else { continue };
            let (cert, key) = (format!("{name}_cert"), format!("{name}_cert_key"));
            settle(prefix, values, &cert, &format!("{target}.crt"), &mut pair.cert)?;
            settle(prefix, values, &key, &format!("{target}.key"), &mut pair.key)?;
        }
        let pairs = [
            ("", "proxy", &mut self.tls.proxy),
            ("admin_", "admin", &mut self.tls.admin),
            ("status_", "status", &mut self.tls.status),
        ];
        for (name, target, pairs) in pairs {
            settle_pairs(prefix, values, name, target, pairs)?;
        }
        let trusted = self.tls.trusted.iter_mut().map(Option::as_mut);
        settle_list(prefix, values, "lua_ssl_trusted_certificate", "lua-ssl-trusted", trusted)?;
        let pinned = self.cluster.trusted_certs.iter_mut().map(Some);
        settle_list(prefix, values, "cluster_trusted_cert", "cluster-trusted", pinned)?;
        if let Some(path) = &self.declarative.file {
            values.replace("declarative_config", Value::Text(path.display().to_string()));
        }
        Ok(())
    }
}

/// Writes inline text to its file and lets the property name the file, by its absolute path.
fn settle(
    prefix: &Prefix,
    values: &mut Values,
    name: &str,
    target: &str,
    pem: &mut Pem,
) -> io::Result<()> {
    let path = prefix.write_pem(pem, target)?;
    values.replace(name, Value::Text(path.display().to_string()));
    *pem = Pem::File(path);
    Ok(())
}

fn settle_pairs(
    prefix: &Prefix,
    values: &mut Values,
    name: &str,
    target: &str,
    pairs: &mut [PemPair],
) -> io::Result<()> {
    let (mut certs, mut keys) = (Vec::new(), Vec::new());
    for (index, pair) in pairs.iter_mut().enumerate() {
        let number = index + 1;
        pair.cert = Pem::File(prefix.write_pem(&pair.cert, &format!("{target}-{number}.crt"))?);
        pair.key = Pem::File(prefix.write_pem(&pair.key, &format!("{target}-{number}.key"))?);
        certs.extend(pair.cert.path().map(|it| it.display().to_string()));
        keys.extend(pair.key.path().map(|it| it.display().to_string()));
    }
    if !certs.is_empty() {
        values.replace(&format!("{name}ssl_cert"), Value::List(certs));
        values.replace(&format!("{name}ssl_cert_key"), Value::List(keys));
    }
    Ok(())
}

/// Settles each item of a list; one that is none of ours to settle stays as it is.
fn settle_list<'a>(
    prefix: &Prefix,
    values: &mut Values,
    name: &str,
    target: &str,
    pems: impl Iterator<Item = Option<&'a mut Pem>>,
) -> io::Result<()> {
    let mut list = values.list(name).to_vec();
    for (index, (value, pem)) in list.iter_mut().zip(pems).enumerate() {
        let Some(pem) = pem else { continue };
        let path = prefix.write_pem(pem, &format!("{target}-{}.crt", index + 1))?;
        *value = path.display().to_string();
        *pem = Pem::File(path);
    }
    if list != values.list(name) {
        values.replace(name, Value::List(list));
    }
    Ok(())
}

fn listener_json(it: &Listener) -> serde_json::Value {
    serde_json::json!({
        "listener": it.to_string(),
        "ip": it.addr.ip().to_string(),
        "port": it.addr.port(),
        "ssl": it.ssl,
        "http2": it.http2,
        "proxy_protocol": it.proxy_protocol,
        "deferred": it.deferred,
        "bind": it.bind,
        "reuseport": it.reuseport,
        "backlog=%d+": it.backlog.is_some(),
    })
}

/// Streams know other flags than HTTP.
fn stream_listener_json(it: &Listener) -> serde_json::Value {
    serde_json::json!({
        "listener": it.to_string(),
        "ip": it.addr.ip().to_string(),
        "port": it.addr.port(),
        "udp": it.udp,
        "ssl": it.ssl,
        "proxy_protocol": it.proxy_protocol,
        "bind": it.bind,
        "reuseport": it.reuseport,
        "backlog=%d+": it.backlog.is_some(),
    })
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.dump().iter().filter_map(|it| it.split_once(" = "))).finish()
    }
}
