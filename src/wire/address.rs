//! Addresses of control planes as a data plane is given them.

/// The port of an address that names none: that of `wss` (reference hybrid.md, section 1.2).
const PORT: u16 = 443;

/// Splits `host:port`, `[v6]:port` or `host` into the host, without brackets, and the port.
pub(super) fn host_and_port(address: &str) -> (&str, u16) {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            port.parse().map_or((address, PORT), |port| (host, port))
        }
        _ => (address, PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    (bare.unwrap_or(host), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_be_absent_and_a_v6_host_in_brackets() {
        for (address, host, port) in [
            ("cp.test:8005", "cp.test", 8005),
            ("cp.test", "cp.test", 443),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:8005", "::1", 8005),
            ("[::1]", "::1", 443),
            ("::1", "::1", 443),
            ("cp.test:http", "cp.test:http", 443),
        ] {
            assert_eq!(host_and_port(address), (host, port), "{address}");
        }
    }
}
