//! A host that is no upstream: an address, or a name that is resolved for each request.

use std::net::IpAddr;
use std::sync::Arc;

/// One host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// A host name or an address.
    pub host: Arc<str>,
    /// The address that `host` is, if it is one.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
    authority: Authority,
}

impl Peer {
    /// Makes a peer; `host` is a name or an address, an IPv6 one with or without brackets.
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let authority = Authority::new(bare, port);
        Self { host: bare.into(), ip: bare.parse().ok(), port, authority }
    }

    /// Returns host and port as a Host header has them, without the port if it is `usual`.
    pub fn authority(&self, usual: u16) -> &str {
        self.authority.unless_usual(usual)
    }
}

/// A host and a port as a Host header has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    port: u16,
    text: Box<str>,
    /// How much of the text the host is.
    host_len: usize,
}

impl Authority {
    /// Writes a host, an IPv6 address without brackets, and a port.
    pub(super) fn new(host: &str, port: u16) -> Self {
        let (text, signs) = match host.contains(':') {
            true => (format!("[{host}]:{port}"), 2),
            false => (format!("{host}:{port}"), 0),
        };
        Self { port, text: text.into(), host_len: host.len() + signs }
    }

    /// Returns the text, without the port if that is `usual`.
    pub(super) fn unless_usual(&self, usual: u16) -> &str {
        let bare = (self.port == usual).then(|| self.text.get(..self.host_len)).flatten();
        bare.unwrap_or(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_header_has_the_port_unless_it_is_usual() {
        let written = |host: &str, port| Peer::new(host, port).authority(80).to_owned();
        assert_eq!(written("a.test", 80), "a.test");
        assert_eq!(written("a.test", 8080), "a.test:8080");
        assert_eq!(written("[::1]", 80), "[::1]");
        assert_eq!(written("::1", 81), "[::1]:81");
    }
}
