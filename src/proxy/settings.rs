//! What the operator can set about the proxy, as the request path reads it.

use std::net::IpAddr;
use std::sync::Arc;

use super::charset::Charset;
use super::debug::Token;
use super::template::Templates;
use crate::settings::AccessFormat;
use crate::telemetry::access::AccessLog;

/// Names and versions in `Server` and `Via`.
pub const SERVER: &str = "kong/3.9.1";

/// The settings of the request path.
#[derive(Clone)]
pub struct ProxySettings {
    /// Which headers of our own an answer gets.
    pub headers: OwnHeaders,
    /// Whether the upstream gets `X-Kong-Request-Id`.
    pub upstream_request_id: bool,
    /// The peers whose word about the client is believed.
    pub trusted: Vec<Network>,
    /// The header in which they tell the client's address, in lower case.
    pub real_ip_header: String,
    /// Whether the list in it is searched backwards for the first untrusted address.
    pub real_ip_recursive: bool,
    /// The ports that clients see, by the ports that we listen on.
    pub port_maps: Vec<(u16, u16)>,
    /// The largest request body, in bytes; 0 is no limit.
    pub body_bytes_max: u64,
    /// How much of a request body is read before the request goes upstream, in bytes, on routes
    /// with `request_buffering`.
    pub body_buffer_bytes: usize,
    /// The type of gateway errors for clients that do not say what they accept.
    pub error_default_type: String,
    /// The operator's own texts of errors.
    pub error_templates: Arc<Templates>,
    /// What text without a charset is said to be in (`nginx_http_charset`); nothing leaves it so.
    pub charset: Option<Charset>,
    /// Whether `Kong-Debug: 1` is answered.
    pub debug_header: bool,
    /// What clients elsewhere need to have requests debugged; nobody may where there is none.
    pub request_debug: Option<Token>,
    /// Where requests are logged.
    pub access_log: Option<AccessLog>,
    /// How lines of it look.
    pub access_format: AccessFormat,
}

impl ProxySettings {
    /// Returns the port that clients see for one that we listen on.
    pub fn outside_port(&self, port: u16) -> u16 {
        outside_port(&self.port_maps, port)
    }
}

/// Returns the port that clients see for one that we listen on, by maps of the latter to the former.
pub(super) fn outside_port(maps: &[(u16, u16)], port: u16) -> u16 {
    maps.iter().find(|(ours, _)| *ours == port).map_or(port, |(_, seen)| *seen)
}

/// Which headers of our own an answer gets (the setting `headers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnHeaders {
    /// `Server` on answers of our own.
    pub server: bool,
    /// `Via` on answers of upstreams.
    pub via: bool,
    /// `X-Kong-Proxy-Latency`.
    pub proxy_latency: bool,
    /// `X-Kong-Upstream-Latency`.
    pub upstream_latency: bool,
    /// `X-Kong-Response-Latency`.
    pub response_latency: bool,
    /// `X-Kong-Upstream-Status`.
    pub upstream_status: bool,
    /// `X-Kong-Request-Id`.
    pub request_id: bool,
    /// `X-Config-Hash`, which Kong does not have.
    pub config_hash: bool,
}

impl OwnHeaders {
    /// Reads the list of the setting `headers`, names in any case.
    pub fn of(names: &[String]) -> Self {
        let has = |wanted: &str| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        let (server, latency) = (has("server_tokens"), has("latency_tokens"));
        Self {
            server: server || has("server"),
            via: server || has("via"),
            proxy_latency: latency || has("x-kong-proxy-latency"),
            upstream_latency: latency || has("x-kong-upstream-latency"),
            response_latency: latency || has("x-kong-response-latency"),
            upstream_status: has("x-kong-upstream-status"),
            request_id: has("x-kong-request-id"),
            config_hash: has("x-config-hash"),
        }
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub ip: IpAddr,
    /// How many leading bits are common.
    pub bits: u8,
}

impl Network {
    /// Returns whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let cut = |bits: u128, width: u8| bits.checked_shr(u32::from(width - self.bits.min(width)));
        match (self.ip, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let bits = |ip: std::net::Ipv4Addr| u128::from(u32::from(ip));
                cut(bits(a), 32) == cut(bits(b), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                self.bits == 0 || cut(u128::from(a), 128) == cut(u128::from(b), 128)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_shares_its_leading_bits() {
        let within = |ip: &str, bits, address: &str| {
            Network { ip: ip.parse().unwrap(), bits }.contains(address.parse().unwrap())
        };
        assert!(within("10.0.0.0", 8, "10.255.1.2"));
        assert!(!within("10.0.0.0", 8, "11.0.0.0"));
        assert!(within("0.0.0.0", 0, "1.2.3.4"));
        assert!(within("10.0.0.0", 8, "::ffff:10.1.1.1"));
        assert!(within("fd00::", 8, "fd12::1"));
        assert!(!within("fd00::", 8, "fe80::1"));
        assert!(within("::", 0, "fe80::1"));
        assert!(within("1.2.3.4", 32, "1.2.3.4") && !within("1.2.3.4", 32, "1.2.3.5"));
    }

    #[test]
    fn tokens_stand_for_several_headers() {
        let of = |names: &[&str]| {
            OwnHeaders::of(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let all = of(&["server_tokens", "latency_tokens", "X-Kong-Request-Id"]);
        assert!(all.server && all.via && all.proxy_latency && all.request_id);
        assert!(!all.upstream_status);
        let via = of(&["via"]);
        assert!(via.via && !via.server && !via.request_id);
    }
}
