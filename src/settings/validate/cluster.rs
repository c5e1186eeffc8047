//! The rules of hybrid mode (reference hybrid.md, section 1.4).

use super::super::layout::Role;
use super::super::listener::is_off;
use super::super::pem::{Holds, Pem};

use super::Rules;

/// Names that no label may begin with: they belong to Kong's own products.
const RESERVED: [&str; 5] = ["kong", "konnect", "insomnia", "mesh", "kic"];

const LABEL_PATTERN: &str = r"[a-z0-9]([\w\.:-]*[a-z0-9]|)$";
const KEY_PATTERN: &str =
    r"(?!kong)(?!konnect)(?!insomnia)(?!mesh)(?!kic)[a-z0-9]([\w\.:-]*[a-z0-9]|)$";

/// The cluster's certificates and labels, as far as they are right.
#[derive(Default)]
pub(super) struct ClusterChecked {
    pub(super) cert: Option<Pem>,
    pub(super) cert_key: Option<Pem>,
    pub(super) ca_cert: Option<Pem>,
    pub(super) trusted_certs: Vec<Pem>,
    pub(super) dp_labels: Vec<(String, String)>,
}

impl ClusterChecked {
    /// Returns whom a data plane trusts beyond `lua_ssl_trusted_certificate`: those of its cluster
    /// (reference hybrid.md, section 1.4).
    pub(super) fn trusted(&self, role: Role, is_pki: bool) -> Option<&Pem> {
        let of_cluster = if is_pki { &self.ca_cert } else { &self.cert };
        of_cluster.as_ref().filter(|_| role == Role::DataPlane)
    }
}

impl Rules<'_> {
    pub(super) fn proxy_server(&mut self) {
        let Some(text) = self.values.text("proxy_server") else { return };
        let Some((scheme, rest)) = text.split_once("://") else {
            return self.error("proxy_server missing scheme");
        };
        if !matches!(scheme, "http" | "https") {
            return self
                .error(format!("proxy_server only supports \"http\" and \"https\", got {scheme}"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host_and_port = authority.rsplit_once('@').map_or(authority, |it| it.1);
        let host = host_and_port.split(['#', '?', ';']).next().unwrap_or_default();
        if host.is_empty() || host.starts_with(':') {
            return self.error("proxy_server missing host");
        }
        if rest.contains(['#', '?', ';']) || path.contains(['#', '?', ';']) {
            return self.error(
                "fragments, query strings or parameters are meaningless in proxy configuration",
            );
        }
        match text.parse::<http::Uri>() {
            Ok(uri) if uri.host().is_some() => {}
            Ok(_) => self.error("proxy_server missing host"),
            Err(reason) => self.error(format!("proxy_server is invalid: {reason}")),
        }
    }

    pub(super) fn cluster(&mut self, role: Role) -> ClusterChecked {
        let mut found = ClusterChecked::default();
        if role == Role::Traditional {
            let unlabelled = self.values.list("cluster_dp_labels").is_empty();
            self.require(
                unlabelled,
                "cluster_dp_labels can only be used when role = \"data_plane\"",
            );
        } else {
            self.certificates(&mut found);
        }
        match role {
            Role::ControlPlane => self.control_plane(),
            Role::DataPlane => {
                self.data_plane();
                found.dp_labels = self.labels();
            }
            Role::Traditional => {}
        }
        self.bounds();
        if self.values.flag("cluster_incremental_sync") && !self.values.flag("cluster_rpc") {
            let disabled = "Cluster incremental sync has been forcibly disabled, please enable \
                            cluster RPC.";
            self.warnings.push(disabled.to_owned());
        }
        found
    }

    fn certificates(&mut self, found: &mut ClusterChecked) {
        let values = self.values;
        match (values.text("cluster_cert"), values.text("cluster_cert_key")) {
            (Some(cert), Some(key)) => {
                found.cert = self.pem("cluster_cert", cert, Holds::Certificate);
                found.cert_key = self.pem("cluster_cert_key", key, Holds::Key);
            }
            _ => self.error("cluster certificate and key must be provided to use Hybrid mode"),
        }
        if let Some(ca) = values.text("cluster_ca_cert") {
            found.ca_cert = self.pem("cluster_ca_cert", ca, Holds::Certificate);
        }
        let name = "cluster_trusted_cert";
        for trusted in values.list(name) {
            found.trusted_certs.extend(self.pem(name, trusted, Holds::Certificate));
        }
        if !values.list(name).is_empty() && values.text("cluster_mtls") == Some("pki") {
            self.warnings.push(format!(
                "{name} has no effect when cluster_mtls = \"pki\": put more authorities into \
                 cluster_ca_cert"
            ));
        }
    }

    fn control_plane(&mut self) {
        let values = self.values;
        let pki_without_ca =
            values.text("cluster_mtls") == Some("pki") && values.text("cluster_ca_cert").is_none();
        self.require(
            !is_off(values.list("admin_listen")),
            "admin_listen must be specified when role = \"control_plane\"",
        );
        self.require(
            !pki_without_ca,
            "cluster_ca_cert must be specified when cluster_mtls = \"pki\"",
        );
        self.require(
            !is_off(values.list("cluster_listen")),
            "cluster_listen must be specified when role = \"control_plane\"",
        );
        self.require(
            values.text("database") != Some("off"),
            "in-memory storage can not be used when role = \"control_plane\"",
        );
        self.require(
            !values.flag("cluster_use_proxy"),
            "cluster_use_proxy can not be used when role = \"control_plane\"",
        );
        self.require(
            values.list("cluster_dp_labels").is_empty(),
            "cluster_dp_labels can not be used when role = \"control_plane\"",
        );
    }

    fn data_plane(&mut self) {
        let values = self.values;
        self.require(
            !is_off(values.list("proxy_listen")),
            "proxy_listen must be specified when role = \"data_plane\"",
        );
        self.require(
            values.text("database") == Some("off"),
            "only in-memory storage can be used when role = \"data_plane\"\n\
             Hint: set database = off in your kong.conf",
        );
        self.require(
            !values.flag("cluster_use_proxy") || values.text("proxy_server").is_some(),
            "cluster_use_proxy is turned on but no proxy_server is configured",
        );
    }

    fn labels(&mut self) -> Vec<(String, String)> {
        let values = self.values;
        let labels = values.list("cluster_dp_labels");
        self.require(
            labels.len() <= 10,
            "labels validation failed: count exceeded 10 max elements",
        );
        let mut found = Vec::new();
        for label in labels {
            let (key, value) = label.split_once(':').unwrap_or((label, ""));
            let verdict = part("key", key).and_then(|()| part("value", value));
            match verdict {
                Ok(()) => found.push((key.to_owned(), value.to_owned())),
                Err(message) => self.error(message),
            }
        }
        found
    }

    fn bounds(&mut self) {
        let at_least =
            |name: &str, least: f64| self.values.number(name).is_some_and(|it| it >= least);
        let purge_delay = at_least("cluster_data_plane_purge_delay", 60.0);
        let max_payload = at_least("cluster_max_payload", 4_194_304.0);
        self.require(purge_delay, "cluster_data_plane_purge_delay must be 60 or greater");
        self.require(max_payload, "cluster_max_payload must be 4194304 (4MB) or greater");
        let (keep, age) = (at_least("snapshot_keep", 1.0), at_least("snapshot_keep_age", 0.0));
        self.require(keep, "snapshot_keep must be 1 or greater");
        self.require(age, "snapshot_keep_age must be 0 or greater");
        let mirror = self.values.text("cluster_snapshot_mirror").is_none_or(|mirror| {
            let schemes = ["http://", "https://", "s3://", "file://"];
            schemes.iter().any(|scheme| mirror.starts_with(scheme))
        });
        let schemes = "cluster_snapshot_mirror must begin with http://, https://, s3:// or file://";
        self.require(mirror, schemes);
    }
}

/// Judges one half of a label.
fn part(what: &str, text: &str) -> Result<(), String> {
    let refused = |why: String| Err(format!("label {what} validation failed: {text} {why}"));
    if !(1..=63).contains(&text.len()) {
        return refused("must have between 1 and 63 characters".to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let reserved = what == "key" && RESERVED.iter().any(|it| lower.starts_with(it));
    let end = |it: u8| it.is_ascii_alphanumeric();
    let inner = |it: u8| it.is_ascii_alphanumeric() || b"_.:-".contains(&it);
    let bytes = text.as_bytes();
    let shaped = bytes.first().is_some_and(|it| end(*it))
        && bytes.last().is_some_and(|it| end(*it))
        && bytes.iter().all(|it| inner(*it));
    if reserved || !shaped {
        let pattern = if what == "key" { KEY_PATTERN } else { LABEL_PATTERN };
        return refused(format!("is invalid. Must match pattern: {pattern}"));
    }
    Ok(())
}
