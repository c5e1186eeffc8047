//! From typed values to the plain struct.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::SettingsError;
use super::layout::{
    AccessFormat, Admin, Cluster, ClusterMtls, ClusterProtocol, Database, Declarative, Dns,
    LogLevel, Ocsp, Proxy, ProxyServer, RequestDebug, SnapshotKeep, Status, StreamFormat, Streams,
    Tls, UpstreamKeepalive,
};
use super::listener::{self, Listener};
use super::pem::{self, PemPair};
use super::prefix::Prefix;
use super::source::Raw;
use super::validate::{self, Checked};
use super::values::{Value, Values};
use super::{Settings, table};
use crate::domain::catalog::UnsupportedPlugins;
use crate::domain::kinds::route::Flavour;

impl Settings {
    /// Types, checks and lays out what was set.
    pub(super) fn from_raw(
        raw: Raw,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let values = Values::new(raw, env, &mut errors, &mut warnings);
        let checked = validate::check(&values, &mut errors, &mut warnings);
        let listeners = Listeners::read(&values, &mut errors);
        if !errors.is_empty() {
            return Err(SettingsError::Invalid(errors));
        }
        let reader = Reader { values: &values };
        let prefix = Prefix::new(reader.text("prefix"));
        let mut settings = Self {
            role: checked.role,
            node_id: checked.node_id,
            log_level: LogLevel::named(reader.text("log_level")).unwrap_or(LogLevel::Notice),
            database: reader.database(&prefix, checked.pg_pair.clone()),
            snapshot_keep: SnapshotKeep {
                count: usize::try_from(reader.whole("snapshot_keep")).unwrap_or(usize::MAX),
                age: reader.seconds("snapshot_keep_age"),
            },
            declarative: reader.declarative(),
            worker_processes: checked.worker_processes,
            daemon: values.flag("nginx_main_daemon"),
            plugins: values.list("plugins").to_vec(),
            unsupported_plugins: match reader.text("unsupported_plugins") {
                "store" => UnsupportedPlugins::Store,
                _ => UnsupportedPlugins::Refuse,
            },
            keeps_health: reader.text("health_state") == "keep",
            upstream_slow_start: reader.seconds("upstream_slow_start"),
            router_flavour: Flavour::named(reader.text("router_flavor")).unwrap_or_default(),
            vaults: values.list("vaults").to_vec(),
            vault_env_prefix: values.text("vault_env_prefix").map(str::to_owned),
            cluster: reader.cluster(listeners.cluster),
            proxy: reader.proxy(listeners.proxy),
            streams: reader.streams(listeners.streams),
            admin: reader.admin(listeners.admin),
            status: reader.status(listeners.status),
            tls: reader.tls(),
            dns: reader.dns(),
            prefix,
            warnings,
            values: Values::default(),
        };
        settings.take_checked(checked);
        settings.values = values;
        Ok(settings)
    }

    fn take_checked(&mut self, checked: Checked) {
        self.cluster.cert = checked.cluster_cert;
        self.cluster.cert_key = checked.cluster_cert_key;
        self.cluster.ca_cert = checked.cluster_ca_cert;
        self.cluster.trusted_certs = checked.cluster_trusted_certs;
        self.cluster.dp_labels = checked.dp_labels;
        self.proxy.trusted_ips = checked.trusted_ips;
        self.proxy.port_maps = checked.port_maps;
        self.proxy.client_max_body_size = checked.client_max_body_size;
        self.proxy.access_format = checked.access_format;
        self.streams.access_format = checked.stream_access_format;
        self.proxy.client_body_buffer_size = checked.client_body_buffer_size;
        self.admin.clients = checked.admin_clients;
        self.admin.client_max_body_size = checked.admin_max_body_size;
        self.admin.gui_origins = checked.gui_origins;
        self.tls.proxy = checked.proxy_pairs;
        self.tls.admin = checked.admin_pairs;
        self.tls.status = checked.status_pairs;
        self.tls.client = checked.client_pair;
        self.tls.trusted = checked.trusted;
        self.tls.session_timeout = checked.session_timeout;
    }
}

/// nginx takes a format behind the path of a log.
fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or("off").to_owned()
}

/// The listeners of every kind.
struct Listeners {
    proxy: Vec<Listener>,
    admin: Vec<Listener>,
    status: Vec<Listener>,
    cluster: Vec<Listener>,
    streams: Vec<Listener>,
}

impl Listeners {
    fn read(values: &Values, errors: &mut Vec<String>) -> Self {
        let mut read = |name| {
            let entries = values.list(name);
            let parsed = match name {
                "stream_listen" => listener::parse_streams(name, entries),
                name => listener::parse(name, entries),
            };
            parsed.unwrap_or_else(|message| {
                errors.push(message);
                Vec::new()
            })
        };
        Self {
            proxy: read("proxy_listen"),
            admin: read("admin_listen"),
            status: read("status_listen"),
            cluster: read("cluster_listen"),
            streams: read("stream_listen"),
        }
    }
}

/// Reads typed values; what the user unset falls back to the default where a node needs one.
pub(super) struct Reader<'a> {
    pub(super) values: &'a Values,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> &str {
        let default = || table::find(name).and_then(|it| it.default).unwrap_or_default();
        self.values.text(name).unwrap_or_else(default)
    }

    /// Returns a property that nginx' HTTP module has under a name of its own, too.
    fn nginx_http(&self, name: &str) -> &str {
        self.values.text(&format!("nginx_http_{name}")).unwrap_or_else(|| self.text(name))
    }

    pub(super) fn owned(&self, name: &str) -> String {
        self.text(name).to_owned()
    }

    fn number(&self, name: &str) -> f64 {
        let default = || table::find(name).and_then(|it| it.default?.parse().ok()).unwrap_or(0.0);
        self.values.number(name).unwrap_or_else(default)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a float-to-integer cast saturates")]
    #[expect(clippy::cast_sign_loss, reason = "a negative number becomes zero")]
    pub(super) fn whole(&self, name: &str) -> u64 {
        self.number(name) as u64
    }

    pub(super) fn whole_u32(&self, name: &str) -> u32 {
        u32::try_from(self.whole(name)).unwrap_or(u32::MAX)
    }

    fn seconds(&self, name: &str) -> Duration {
        Duration::try_from_secs_f64(self.number(name).max(0.0)).unwrap_or(Duration::MAX)
    }

    fn lower_list(&self, name: &str) -> Vec<String> {
        self.values.list(name).iter().map(|it| it.to_ascii_lowercase()).collect()
    }

    fn database(&self, prefix: &Prefix, pg_pair: Option<PemPair>) -> Database {
        match self.text("database") {
            "off" => Database::Off,
            "postgres" => Database::Postgres(Box::new(self.postgres(pg_pair))),
            _ => Database::Sqlite(
                prefix.join(self.values.text("sqlite_path").unwrap_or("hybrid.db")),
            ),
        }
    }

    fn declarative(&self) -> Declarative {
        Declarative {
            file: self.values.text("declarative_config").map(|it| pem::absolute(it.as_ref())),
            text: self.values.text("declarative_config_string").map(str::to_owned),
        }
    }

    fn cluster(&self, listen: Vec<Listener>) -> Cluster {
        let addresses = self.text("cluster_control_plane").split(',');
        let proxy_server = self.values.text("proxy_server").map(|url| ProxyServer {
            url: url.to_owned(),
            ssl_verify: self.values.flag("proxy_server_ssl_verify"),
        });
        Cluster {
            listen,
            control_planes: addresses
                .map(str::trim)
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
                .collect(),
            mtls: match self.text("cluster_mtls") {
                "pki" => ClusterMtls::Pki,
                _ => ClusterMtls::Shared,
            },
            cert: None,
            cert_key: None,
            ca_cert: None,
            trusted_certs: Vec::new(),
            server_name: self.values.text("cluster_server_name").map(str::to_owned),
            ocsp: match self.text("cluster_ocsp") {
                "on" => Ocsp::On,
                "optional" => Ocsp::Optional,
                _ => Ocsp::Off,
            },
            data_plane_purge_delay: self.seconds("cluster_data_plane_purge_delay"),
            max_payload: self.whole("cluster_max_payload"),
            proxy_server: proxy_server.filter(|_| self.values.flag("cluster_use_proxy")),
            dp_labels: Vec::new(),
            protocol: match self.text("cluster_protocol") {
                "native" => ClusterProtocol::Native,
                "kong" => ClusterProtocol::Kong,
                _ => ClusterProtocol::Auto,
            },
            legacy_data_planes: self.values.flag("cluster_legacy_data_planes"),
            snapshot_mirror: self.values.text("cluster_snapshot_mirror").map(str::to_owned),
            db_update_frequency: self.seconds("db_update_frequency"),
        }
    }

    fn proxy(&self, listen: Vec<Listener>) -> Proxy {
        Proxy {
            listen,
            headers: self.lower_list("headers"),
            headers_upstream: self.lower_list("headers_upstream"),
            trusted_ips: Vec::new(),
            real_ip_header: self.owned("nginx_proxy_real_ip_header"),
            real_ip_recursive: self.values.flag("nginx_proxy_real_ip_recursive"),
            port_maps: Vec::new(),
            client_max_body_size: 0,
            client_body_buffer_size: 0,
            upstream_keepalive: UpstreamKeepalive {
                pool_size: self.whole_u32("upstream_keepalive_pool_size"),
                max_requests: self.whole("upstream_keepalive_max_requests"),
                idle_timeout: self.seconds("upstream_keepalive_idle_timeout"),
            },
            error_default_type: self.owned("error_default_type"),
            error_templates: ["json", "plain", "html", "xml"]
                .into_iter()
                .filter_map(|form| {
                    let path = self.values.text(&format!("error_template_{form}"))?;
                    Some((form, pem::absolute(path.as_ref())))
                })
                .collect(),
            charset: Some(self.owned("nginx_http_charset")).filter(|it| it != "off"),
            request_debug: self.values.flag("request_debug").then(|| RequestDebug {
                token: self.values.text("request_debug_token").map(str::to_owned),
            }),
            allow_debug_header: self.values.flag("allow_debug_header"),
            access_log: first_word(self.text("proxy_access_log")),
            access_format: AccessFormat::default(),
            error_log: self.owned("proxy_error_log"),
        }
    }

    fn streams(&self, listen: Vec<Listener>) -> Streams {
        let access_log = first_word(self.text("proxy_stream_access_log"));
        Streams { listen, access_log, access_format: StreamFormat::default() }
    }

    fn admin(&self, listen: Vec<Listener>) -> Admin {
        Admin {
            listen,
            auth: self.values.flag("admin_auth"),
            clients: None,
            client_max_body_size: 0,
            gui_origins: Vec::new(),
            access_log: self.owned("admin_access_log"),
            error_log: self.owned("admin_error_log"),
        }
    }

    fn status(&self, listen: Vec<Listener>) -> Status {
        Status {
            listen,
            access_log: self.owned("status_access_log"),
            error_log: self.owned("status_error_log"),
        }
    }

    fn tls(&self) -> Tls {
        let protocols = self.nginx_http("ssl_protocols");
        Tls {
            proxy: Vec::new(),
            admin: Vec::new(),
            status: Vec::new(),
            client: None,
            trusted: Vec::new(),
            verify_depth: self.whole_u32("lua_ssl_verify_depth"),
            cipher_suite: self.owned("ssl_cipher_suite"),
            protocols: protocols.split_whitespace().map(str::to_owned).collect(),
            ciphers: self.values.text("ssl_ciphers").map(str::to_owned),
            prefer_server_ciphers: self.nginx_http("ssl_prefer_server_ciphers") == "on",
            session_tickets: self.nginx_http("ssl_session_tickets") == "on",
            session_timeout: Duration::ZERO,
        }
    }

    /// The settings of Kong's newer DNS client, where that is switched on, or else of the older one.
    fn dns(&self) -> Dns {
        let is_new = self.values.flag("new_dns_client");
        let name = |old: &'static str, new: &'static str| if is_new { new } else { old };
        let valid_ttl = name("dns_valid_ttl", "resolver_valid_ttl");
        let valid_ttl = match self.values.value(valid_ttl) {
            Value::Number(_) => Some(self.seconds(valid_ttl)),
            _ => None,
        };
        let order = self.values.list(name("dns_order", "resolver_family"));
        let cache_size = self.seconds(name("dns_cache_size", "resolver_lru_cache_size"));
        Dns {
            resolver: self.values.list(name("dns_resolver", "resolver_address")).to_vec(),
            hosts_file: PathBuf::from(self.text(name("dns_hostsfile", "resolver_hosts_file"))),
            order: order.iter().map(|it| it.to_uppercase()).collect(),
            valid_ttl,
            stale_ttl: self.seconds(name("dns_stale_ttl", "resolver_stale_ttl")),
            not_found_ttl: self.seconds(name("dns_not_found_ttl", "resolver_error_ttl")),
            error_ttl: self.seconds(name("dns_error_ttl", "resolver_error_ttl")),
            cache_size: usize::try_from(cache_size.as_secs()).unwrap_or(usize::MAX).max(1),
            srv_by_form: is_new,
        }
    }
}
