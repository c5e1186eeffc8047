//! The rules of name resolution (Kong's `dns_*` settings, and `resolver_*` of its newer client).

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::Rules;

/// The words `dns_order` may hold.
const ORDER: [&str; 5] = ["LAST", "A", "AAAA", "CNAME", "SRV"];

/// The words `resolver_family` may hold.
const FAMILY: [&str; 3] = ["A", "AAAA", "SRV"];

impl Rules<'_> {
    pub(super) fn dns(&mut self) {
        let values = self.values;
        for name in ["dns_resolver", "resolver_address"] {
            for text in values.list(name).iter().filter(|text| !is_server(text)) {
                self.error(format!(
                    "{name} must be a comma separated list in the form of IPv4/6 or IPv4/6:port, \
                     got '{text}'"
                ));
            }
        }
        for (name, words) in [("dns_order", ORDER.as_slice()), ("resolver_family", &FAMILY)] {
            let list = values.list(name);
            for text in list {
                if !words.contains(&text.to_uppercase().as_str()) {
                    self.error(format!("{name}: invalid entry '{text}'"));
                }
            }
            if list.iter().all(|text| text.eq_ignore_ascii_case("LAST")) {
                self.error(format!("{name} must contain at least one record type"));
            }
        }
        for name in ["dns_hostsfile", "resolver_hosts_file"] {
            let path = values.text(name).unwrap_or_default();
            if path != "/etc/hosts" && !Path::new(path).is_file() {
                self.error(format!("{name}: file does not exist"));
            }
        }
        for name in [
            "dns_valid_ttl",
            "dns_stale_ttl",
            "dns_not_found_ttl",
            "dns_error_ttl",
            "resolver_valid_ttl",
            "resolver_stale_ttl",
            "resolver_error_ttl",
        ] {
            // A century is more than anyone needs, and less than what clocks cannot add.
            if values.number(name).is_some_and(|it| !(0.0..=3.2e9).contains(&it)) {
                self.error(format!("{name} must be a number of seconds"));
            }
        }
    }
}

fn is_server(text: &str) -> bool {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    text.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_addresses_with_or_without_a_port() {
        for text in ["10.0.0.1", "10.0.0.1:5353", "::1", "[::1]", "[::1]:53"] {
            assert!(is_server(text), "{text}");
        }
        for text in ["", "dns.test", "10.0.0.1:", "10.0.0.1:99999"] {
            assert!(!is_server(text), "{text}");
        }
    }
}
