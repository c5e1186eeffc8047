//! The rules of the proxy's own settings (reference hybrid.md, section 1.3).

use std::net::IpAddr;
use std::time::Duration;

use super::super::layout::{AccessFormat, StreamFormat, TrustedAddress};
use super::super::time;

use super::Rules;

/// The words `headers` may hold, in lower case.
const HEADERS: [&str; 12] = [
    "server_tokens",
    "latency_tokens",
    "via",
    "server",
    "x-kong-proxy-latency",
    "x-kong-response-latency",
    "x-kong-admin-latency",
    "x-kong-upstream-latency",
    "x-kong-upstream-status",
    "x-kong-request-id",
    "x-config-hash",
    "off",
];

const HEADERS_UPSTREAM: [&str; 2] = ["x-kong-request-id", "off"];

impl Rules<'_> {
    pub(super) fn headers(&mut self) {
        for (name, words) in
            [("headers", HEADERS.as_slice()), ("headers_upstream", HEADERS_UPSTREAM.as_slice())]
        {
            let values = self.values;
            for token in values.list(name) {
                if !words.contains(&token.to_ascii_lowercase().as_str()) {
                    self.error(format!("{name}: invalid entry '{token}'"));
                }
            }
        }
    }

    pub(super) fn trusted_ips(&mut self) -> Vec<TrustedAddress> {
        let values = self.values;
        let mut trusted = Vec::new();
        for text in values.list("trusted_ips") {
            match trusted_address(text) {
                Some(address) => trusted.push(address),
                None => self.error(format!(
                    "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 \
                     address or CIDR block or 'unix:', got '{text}'"
                )),
            }
        }
        trusted
    }

    pub(super) fn port_maps(&mut self) -> Vec<(u16, u16)> {
        let values = self.values;
        let mut maps = Vec::new();
        for text in values.list("port_maps") {
            let port = |it: &str| it.parse::<u16>().ok().filter(|it| *it > 0);
            match text.split_once(':').and_then(|(from, to)| Some((port(from)?, port(to)?))) {
                // Written as outside:inside; looked up by the port listened on.
                Some((outside, inside)) => maps.push((inside, outside)),
                None => self.error(format!("invalid port mapping (`port_maps`): {text}")),
            }
        }
        maps
    }

    pub(super) fn limits(&mut self) {
        for name in [
            "upstream_keepalive_pool_size",
            "upstream_keepalive_max_requests",
            "upstream_keepalive_idle_timeout",
        ] {
            if self.values.number(name).is_some_and(|it| it < 0.0) {
                self.error(format!("{name} must be 0 or greater"));
            }
        }
        if self.values.number("worker_state_update_frequency").is_some_and(|it| it <= 0.0) {
            self.error("worker_state_update_frequency must be greater than 0");
        }
        for name in
            ["lua_max_req_headers", "lua_max_resp_headers", "lua_max_uri_args", "lua_max_post_args"]
        {
            let number = self.values.number(name);
            if number.is_some_and(|it| it.fract() != 0.0 || !(1.0..=1000.0).contains(&it)) {
                self.error(format!("{name} must be an integer between 1 and 1000"));
            }
        }
        self.postgres();
        if self.values.text("worker_consistency") == Some("strict") {
            self.warnings.push("worker_consistency = strict is deprecated".to_owned());
        }
    }

    /// Reads a size as nginx writes it: digits and an optional `k`, `m` or `g`.
    pub(super) fn size(&mut self, name: &str) -> u64 {
        let Some(text) = self.values.text(name) else { return 0 };
        size(text).unwrap_or_else(|| {
            self.error(format!("{name} must be a size such as 8k or 10m, got '{text}'"));
            0
        })
    }

    /// Reads the words behind the path of the access log.
    pub(super) fn access_format(&mut self) -> AccessFormat {
        let text = self.values.text("proxy_access_log").unwrap_or_default();
        let mut format = AccessFormat::default();
        for word in text.split_whitespace().skip(1) {
            match word {
                "kong_log_format" => format = AccessFormat::Kong,
                "combined" => format = AccessFormat::Combined,
                "json" => format = AccessFormat::Json,
                _ => self.warnings.push(format!(
                    "proxy_access_log: '{word}' is not supported by this release, which writes \
                     kong_log_format, combined or json"
                )),
            }
        }
        format
    }

    /// Reads the words behind the path of the access log of streams.
    pub(super) fn stream_access_format(&mut self) -> StreamFormat {
        let text = self.values.text("proxy_stream_access_log").unwrap_or_default();
        let mut format = StreamFormat::default();
        for word in text.split_whitespace().skip(1) {
            match word {
                "basic" => format = StreamFormat::Basic,
                "json" => format = StreamFormat::Json,
                _ => self.warnings.push(format!(
                    "proxy_stream_access_log: '{word}' is not supported by this release, which \
                     writes basic or json"
                )),
            }
        }
        format
    }

    /// Reads a time as nginx writes it, from `name` or the property of nginx that it is an alias of.
    pub(super) fn time(&mut self, name: &str) -> Duration {
        let of_nginx = self.values.text(&format!("nginx_http_{name}"));
        let Some(text) = of_nginx.or_else(|| self.values.text(name)) else { return Duration::ZERO };
        time::parse(text).unwrap_or_else(|| {
            self.error(format!("{name} must be a time such as 10m or 1d, got '{text}'"));
            Duration::ZERO
        })
    }
}

fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1_u64),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    plain.then(|| digits.parse::<u64>().ok()?.checked_mul(unit))?
}

fn trusted_address(text: &str) -> Option<TrustedAddress> {
    if text == "unix:" {
        return Some(TrustedAddress::Unix);
    }
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some(TrustedAddress::Network { ip, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("8k"), Some(8192));
        assert_eq!(size("10M"), Some(10 << 20));
        for text in ["", "k", "-1", "1.5m", "1x", "99999999999999999999g", "18446744073709551615g"]
        {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn trusted_addresses_are_addresses_networks_or_unix() {
        assert_eq!(trusted_address("unix:"), Some(TrustedAddress::Unix));
        let any = TrustedAddress::Network { ip: IpAddr::from([0, 0, 0, 0]), bits: 0 };
        assert_eq!(trusted_address("0.0.0.0/0"), Some(any));
        for text in ["10.0.0.0/33", "::1/129", "host", "10.0.0.0/", ""] {
            assert_eq!(trusted_address(text), None, "{text}");
        }
    }
}
