//! Which settings a running node takes over when it is told to read them again.

use super::property::{Property, Support};
use super::{Settings, table};

/// Those that are looked at anew by what is there.
const AT_ONCE: &[&str] = &[
    // The node is found by it, so it is the same.
    "prefix",
    "log_level",
    "client_ssl",
    "client_ssl_cert",
    "client_ssl_cert_key",
    "cluster_cert",
    "cluster_cert_key",
    "cluster_ca_cert",
    "cluster_trusted_cert",
    "lua_ssl_trusted_certificate",
    "lua_ssl_verify_depth",
    "ssl_cert",
    "ssl_cert_key",
    "admin_ssl_cert",
    "admin_ssl_cert_key",
    "status_ssl_cert",
    "status_ssl_cert_key",
];

/// Those that make the proxy another one, which takes the place of the one before.
const OF_PROXY: &[&str] = &[
    "allow_debug_header",
    "client_body_buffer_size",
    "client_max_body_size",
    "error_default_type",
    "error_template_html",
    "error_template_json",
    "error_template_plain",
    "error_template_xml",
    "headers",
    "headers_upstream",
    "nginx_http_charset",
    "nginx_worker_processes",
    "port_maps",
    "proxy_access_log",
    "proxy_listen",
    "proxy_stream_access_log",
    "real_ip_header",
    "real_ip_recursive",
    "request_debug",
    "request_debug_token",
    "ssl_cipher_suite",
    "ssl_ciphers",
    "ssl_prefer_server_ciphers",
    "ssl_protocols",
    "ssl_session_tickets",
    "ssl_session_timeout",
    "stream_listen",
    "trusted_ips",
    "upstream_keepalive_idle_timeout",
    "upstream_keepalive_max_requests",
    "upstream_keepalive_pool_size",
];

impl Settings {
    /// Returns what makes the proxy that these settings ask for, by name; for comparing alone.
    pub fn of_proxy(&self) -> Vec<(&'static str, String)> {
        let value = |name: &'static str| (name, format!("{:?}", self.values.value(name)));
        OF_PROXY.iter().copied().map(value).collect()
    }

    /// Returns the settings that are others in `fresh` and that only another process takes over.
    pub fn wait_for_restart(&self, fresh: &Self) -> Vec<&'static str> {
        let differs = |name: &str| self.values.value(name) != fresh.values.value(name);
        let waits = |it: &&Property| {
            it.support == Support::Honoured && !is_taken_over(it.name) && differs(it.name)
        };
        table::ALL.iter().filter(waits).map(|it| it.name).collect()
    }
}

/// An alias is taken over as what it stands for is.
fn is_taken_over(name: &str) -> bool {
    let is_listed = |name: &str| AT_ONCE.contains(&name) || OF_PROXY.contains(&name);
    let mut aliases = table::ALIASES.iter().filter(|(_, names)| names.contains(&name));
    is_listed(name) || aliases.any(|(alias, _)| is_listed(alias))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    fn settings(wanted: &[(&str, &str)]) -> Settings {
        let own = |(name, value): &(&str, &str)| (format!("KONG_{name}"), (*value).to_owned());
        let env = wanted.iter().map(own).collect();
        Settings::load(&Sources { conf: None, env, prefix: None }).unwrap()
    }

    #[test]
    fn each_changed_setting_is_taken_over_or_named() {
        let before = settings(&[]);
        let names = |wanted: &[(&str, &str)]| before.wait_for_restart(&settings(wanted));
        let at_once = [("LOG_LEVEL", "debug"), ("HEADERS", "off"), ("PROXY_LISTEN", "[::1]:80")];
        assert!(names(&at_once).is_empty());
        assert!(names(&[("REAL_IP_HEADER", "X-A"), ("NGINX_WORKER_PROCESSES", "3")]).is_empty());
        assert_eq!(names(&[("ADMIN_LISTEN", "off")]), ["admin_listen"]);
        assert_eq!(names(&[("PLUGINS", "off"), ("LOG_LEVEL", "warn")]), ["plugins"]);
    }

    #[test]
    fn the_proxy_is_another_by_its_own_settings_alone() {
        let before = settings(&[]).of_proxy();
        assert!(settings(&[("LOG_LEVEL", "debug"), ("ADMIN_LISTEN", "off")]).of_proxy() == before);
        assert!(settings(&[("TRUSTED_IPS", "10.0.0.0/8")]).of_proxy() != before);
    }

    #[test]
    fn every_name_is_a_property() {
        for name in AT_ONCE.iter().chain(OF_PROXY) {
            assert!(table::find(name).is_some(), "{name}");
        }
    }
}
