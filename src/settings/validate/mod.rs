//! The rules over settings, in Kong's order and words (reference hybrid.md, sections 1.3 and 1.4).
//!
//! Every rule adds to one list; `check` prints all of it, `start` the first.

mod admin;
mod cluster;
mod dns;
mod postgres;
mod proxying;
#[cfg(test)]
mod tests;

use std::time::Duration;

use uuid::Uuid;

use super::layout::{AccessFormat, AdminClients, Role, TrustedAddress};
use super::pem::{self, Holds, Pem, PemPair};
use super::values::Values;

/// What the rules found out on their way.
pub(super) struct Checked {
    pub(super) role: Role,
    pub(super) node_id: Option<Uuid>,
    pub(super) worker_processes: usize,
    pub(super) cluster_cert: Option<Pem>,
    pub(super) cluster_cert_key: Option<Pem>,
    pub(super) cluster_ca_cert: Option<Pem>,
    pub(super) cluster_trusted_certs: Vec<Pem>,
    pub(super) dp_labels: Vec<(String, String)>,
    pub(super) trusted_ips: Vec<TrustedAddress>,
    pub(super) port_maps: Vec<(u16, u16)>,
    pub(super) client_max_body_size: u64,
    pub(super) client_body_buffer_size: u64,
    pub(super) admin_max_body_size: u64,
    pub(super) gui_origins: Vec<String>,
    pub(super) proxy_pairs: Vec<PemPair>,
    pub(super) admin_pairs: Vec<PemPair>,
    pub(super) admin_clients: Option<AdminClients>,
    pub(super) status_pairs: Vec<PemPair>,
    pub(super) client_pair: Option<PemPair>,
    pub(super) pg_pair: Option<PemPair>,
    pub(super) trusted: Vec<Option<Pem>>,
    pub(super) session_timeout: Duration,
    pub(super) access_format: AccessFormat,
}

/// Runs every rule.
pub(super) fn check(
    values: &Values,
    errors: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Checked {
    let mut rules = Rules { values, errors, warnings };
    let role = match values.text("role") {
        Some("control_plane") => Role::ControlPlane,
        Some("data_plane") => Role::DataPlane,
        _ => Role::Traditional,
    };
    let proxy_pairs = rules.pairs("", "proxy_listen");
    let admin_pairs = rules.pairs("admin_", "admin_listen");
    let status_pairs = rules.pairs("status_", "status_listen");
    let client_pair = rules.client_pair();
    let pg_pair = rules.pg_pair();
    let mut trusted = rules.trusted_certificates();
    rules.headers();
    let trusted_ips = rules.trusted_ips();
    let port_maps = rules.port_maps();
    rules.proxy_server();
    let cluster = rules.cluster(role);
    let of_cluster = cluster.trusted(role, values.text("cluster_mtls") == Some("pki"));
    trusted
        .extend(of_cluster.filter(|it| !trusted.contains(&Some((*it).clone()))).cloned().map(Some));
    let admin_clients = rules.admin_access(role);
    rules.limits();
    rules.dns();
    rules.database();
    let [client_max_body_size, client_body_buffer_size, admin_max_body_size] = [
        "nginx_http_client_max_body_size",
        "nginx_http_client_body_buffer_size",
        "nginx_admin_client_max_body_size",
    ]
    .map(|name| rules.size(name));
    Checked {
        role,
        node_id: rules.node_id(),
        worker_processes: rules.worker_processes(),
        cluster_cert: cluster.cert,
        cluster_cert_key: cluster.cert_key,
        cluster_ca_cert: cluster.ca_cert,
        cluster_trusted_certs: cluster.trusted_certs,
        dp_labels: cluster.dp_labels,
        trusted_ips,
        port_maps,
        client_max_body_size,
        client_body_buffer_size,
        admin_max_body_size,
        gui_origins: rules.gui_origins(),
        proxy_pairs,
        admin_pairs,
        admin_clients,
        status_pairs,
        client_pair,
        pg_pair,
        trusted,
        session_timeout: rules.time("ssl_session_timeout"),
        access_format: rules.access_format(),
    }
}

/// The values under judgement and the verdicts so far.
struct Rules<'a> {
    values: &'a Values,
    errors: &'a mut Vec<String>,
    warnings: &'a mut Vec<String>,
}

impl Rules<'_> {
    fn error(&mut self, message: impl Into<String>) {
        self.errors.push(message.into());
    }

    fn require(&mut self, holds: bool, message: &str) {
        if !holds {
            self.error(message);
        }
    }

    /// Reads the origins of the pages that may use the Admin API: a path does not belong to one.
    fn gui_origins(&mut self) -> Vec<String> {
        let mut origins = Vec::new();
        for url in self.values.list("admin_gui_url") {
            let parts = url.split_once("://").map(|(scheme, rest)| {
                (scheme, rest.split(['/', '?', '#']).next().unwrap_or_default())
            });
            match parts {
                Some((scheme, authority)) if !scheme.is_empty() && !authority.is_empty() => {
                    origins.push(format!("{scheme}://{authority}"));
                }
                _ => self.error(format!("admin_gui_url: expected scheme and host in '{url}'")),
            }
        }
        origins
    }

    /// Reads one value as PEM; a bad one is an error and nothing.
    fn pem(&mut self, name: &str, value: &str, holds: Holds) -> Option<Pem> {
        pem::parse(name, value, holds).map_err(|message| self.error(message)).ok()
    }

    /// The certificates of one kind of listener, checked only if one of them speaks TLS.
    fn pairs(&mut self, prefix: &str, listen: &str) -> Vec<PemPair> {
        let (cert_name, key_name) = (format!("{prefix}ssl_cert"), format!("{prefix}ssl_cert_key"));
        let values = self.values;
        let ssl = |it: &String| it.split_whitespace().any(|flag| flag == "ssl");
        if !values.list(listen).iter().any(ssl) {
            return Vec::new();
        }
        let (certs, keys) = (values.list(&cert_name), values.list(&key_name));
        match (certs.len(), keys.len()) {
            (0, 0) => return Vec::new(),
            (_, 0) => self.error(format!("{key_name} must be specified")),
            (0, _) => self.error(format!("{cert_name} must be specified")),
            (some, other) if some != other => self.error(format!(
                "{cert_name} was specified {some} times while {key_name} was specified {other} times"
            )),
            _ => {}
        }
        let certs: Vec<_> =
            certs.iter().map(|it| self.pem(&cert_name, it, Holds::Certificate)).collect();
        let keys: Vec<_> = keys.iter().map(|it| self.pem(&key_name, it, Holds::Key)).collect();
        let pair =
            |(cert, key): (Option<Pem>, Option<Pem>)| Some(PemPair { cert: cert?, key: key? });
        certs.into_iter().zip(keys).filter_map(pair).collect()
    }

    fn client_pair(&mut self) -> Option<PemPair> {
        self.pair("client_ssl")
    }

    fn pg_pair(&mut self) -> Option<PemPair> {
        self.pair("pg_ssl")
    }

    /// The certificate and key that are shown to others when a flag is on.
    fn pair(&mut self, flag: &str) -> Option<PemPair> {
        if !self.values.flag(flag) {
            return None;
        }
        let (cert_name, key_name) = (format!("{flag}_cert"), format!("{flag}_cert_key"));
        let (cert, key) = (self.values.text(&cert_name), self.values.text(&key_name));
        match (cert, key) {
            (Some(_), None) => self.error(format!("{key_name} must be specified")),
            (None, Some(_)) => self.error(format!("{cert_name} must be specified")),
            _ => {}
        }
        let cert = cert.and_then(|it| self.pem(&cert_name, it, Holds::Certificate));
        let key = key.and_then(|it| self.pem(&key_name, it, Holds::Key));
        Some(PemPair { cert: cert?, key: key? })
    }

    fn trusted_certificates(&mut self) -> Vec<Option<Pem>> {
        let name = "lua_ssl_trusted_certificate";
        let values = self.values;
        let mut trusted = Vec::new();
        for value in values.list(name) {
            if value == "system" {
                trusted.push(None);
            } else if let Some(pem) = self.pem(name, value, Holds::Certificate) {
                trusted.push(Some(pem));
            }
        }
        trusted
    }

    fn node_id(&mut self) -> Option<Uuid> {
        let text = self.values.text("node_id")?;
        // Only the hyphenated form is one for Kong.
        let id = Uuid::parse_str(text).ok().filter(|_| text.len() == 36);
        self.require(id.is_some(), "node_id must be a valid UUID");
        id
    }

    fn worker_processes(&mut self) -> usize {
        let text = self.values.text("nginx_main_worker_processes").unwrap_or("auto");
        if text == "auto" {
            return std::thread::available_parallelism().map_or(1, usize::from);
        }
        text.parse().ok().filter(|it| (1..=1024).contains(it)).unwrap_or_else(|| {
            self.error(format!(
                "nginx_worker_processes must be 'auto' or a number from 1 to 1024, got '{text}'"
            ));
            1
        })
    }

    fn database(&mut self) {
        if self.values.text("database") == Some("cassandra") {
            self.error(
                "Cassandra as a datastore for Kong is not supported in versions 3.4 and above. \
                 Please use Postgres.",
            );
        }
    }
}
