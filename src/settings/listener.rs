//! The listener grammar (reference hybrid.md, section 1.5).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::time;

/// One address to listen on, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Where to listen.
    pub addr: SocketAddr,
    /// Whether datagrams are taken instead of connections; for streams alone.
    pub udp: bool,
    /// Whether connections begin with a TLS handshake.
    pub ssl: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Whether accepting waits for the first data.
    pub deferred: bool,
    /// Whether the address is bound by a call of its own.
    pub bind: bool,
    /// Whether each worker has a socket of its own.
    pub reuseport: bool,
    /// How many connections may wait to be accepted.
    pub backlog: Option<u32>,
    /// Whether an IPv6 socket refuses IPv4.
    pub ipv6only: Option<bool>,
    /// The `so_keepalive` flag as written: `on`, `off` or `idle:interval:count`.
    pub so_keepalive: Option<String>,
}

/// How idle connections are probed; what is absent is as the system has it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keepalive {
    /// How long a connection is idle before the first probe.
    pub idle: Option<Duration>,
    /// The time between two probes.
    pub interval: Option<Duration>,
    /// How many probes without an answer end the connection.
    pub count: Option<u32>,
}

impl Listener {
    /// Returns how idle connections are probed, if they are.
    pub fn keepalive(&self) -> Option<Keepalive> {
        keepalive(self.so_keepalive.as_deref()?)?
    }

    fn at(addr: SocketAddr) -> Self {
        Self {
            addr,
            udp: false,
            ssl: false,
            http2: false,
            proxy_protocol: false,
            deferred: false,
            bind: false,
            reuseport: false,
            backlog: None,
            ipv6only: None,
            so_keepalive: None,
        }
    }

    /// Takes one flag; returns whether it is one.
    fn take(&mut self, flag: &str) -> bool {
        match flag {
            "ssl" => self.ssl = true,
            "http2" => self.http2 = true,
            "proxy_protocol" => self.proxy_protocol = true,
            "deferred" => self.deferred = true,
            "bind" => self.bind = true,
            "reuseport" => self.reuseport = true,
            "ipv6only=on" => self.ipv6only = Some(true),
            "ipv6only=off" => self.ipv6only = Some(false),
            _ => return self.take_valued(flag),
        }
        true
    }

    fn take_valued(&mut self, flag: &str) -> bool {
        match flag.split_once('=') {
            Some(("backlog", count)) if is_digits(count) => {
                self.backlog = count.parse().ok();
                self.backlog.is_some()
            }
            Some(("so_keepalive", value)) if keepalive(value).is_some() => {
                self.so_keepalive = Some(value.to_owned());
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.addr)?;
        let flags = [
            (self.udp, " udp"),
            (self.ssl, " ssl"),
            (self.http2, " http2"),
            (self.proxy_protocol, " proxy_protocol"),
            (self.deferred, " deferred"),
            (self.bind, " bind"),
            (self.reuseport, " reuseport"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| out.write_str(name))?;
        if let Some(backlog) = self.backlog {
            write!(out, " backlog={backlog}")?;
        }
        if let Some(only) = self.ipv6only {
            write!(out, " ipv6only={}", if only { "on" } else { "off" })?;
        }
        self.so_keepalive.iter().try_for_each(|it| write!(out, " so_keepalive={it}"))
    }
}

/// Reads the entries of the property `name`; a first entry `off` means none.
///
/// # Errors
/// The text Kong prints for any entry that is not of the form.
pub(super) fn parse(name: &str, entries: &[String]) -> Result<Vec<Listener>, String> {
    if is_off(entries) {
        return Ok(Vec::new());
    }
    let refused = || {
        format!(
            "{name} must be of form: [off] | <ip>:<port> [ssl] [http2] [proxy_protocol] \
             [deferred] [bind] [reuseport] [backlog=%d+] [ipv6only=on] [ipv6only=off] \
             [so_keepalive=on] [so_keepalive=off] [so_keepalive=%w*:%w*:%d*], \
             [... next entry ...]"
        )
    };
    entries.iter().map(|it| entry(it).ok_or_else(refused)).collect()
}

/// Does the same for streams, which know other flags.
///
/// # Errors
/// As [`parse`]; and flags that contradict each other.
pub(super) fn parse_streams(name: &str, entries: &[String]) -> Result<Vec<Listener>, String> {
    if is_off(entries) {
        return Ok(Vec::new());
    }
    let refused = || {
        format!(
            "{name} must be of form: [off] | <ip>:<port> [udp] [ssl] [proxy_protocol] [bind] \
             [reuseport] [backlog=%d+] [ipv6only=on] [ipv6only=off] [so_keepalive=on] \
             [so_keepalive=off] [so_keepalive=%w*:%w*:%d*], [... next entry ...]"
        )
    };
    let mut listeners = Vec::with_capacity(entries.len());
    for text in entries {
        let listener = stream_entry(text).ok_or_else(refused)?;
        let of_connections = [
            ("ssl", listener.ssl),
            ("proxy_protocol", listener.proxy_protocol),
            ("backlog", listener.backlog.is_some()),
            ("so_keepalive", listener.so_keepalive.is_some()),
        ];
        let set = of_connections.iter().find(|(_, set)| *set && listener.udp);
        if let Some((flag, _)) = set {
            return Err(format!("{name}: '{flag}' is incompatible with 'udp' in '{text}'"));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn stream_entry(text: &str) -> Option<Listener> {
    let mut words = text.split_whitespace();
    let mut listener = Listener::at(address(words.next()?)?);
    let mut take = |flag: &str| match flag {
        "udp" => {
            listener.udp = true;
            true
        }
        "http2" | "deferred" => false,
        flag => listener.take(flag),
    };
    words.all(&mut take).then_some(listener)
}

/// Returns whether a listener property asks for no listener at all.
pub(super) fn is_off(entries: &[String]) -> bool {
    entries.first().is_none_or(|it| it.trim() == "off")
}

fn entry(text: &str) -> Option<Listener> {
    let mut words = text.split_whitespace();
    let mut listener = Listener::at(address(words.next()?)?);
    words.all(|flag| listener.take(flag)).then_some(listener)
}

fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ip: IpAddr = match bracketed {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None if host == "localhost" => IpAddr::from([127, 0, 0, 1]),
        None => IpAddr::V4(host.parse().ok()?),
    };
    is_digits(port).then(|| port.parse().ok().map(|port| SocketAddr::new(ip, port)))?
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

/// Reads `on`, `off` or `idle:interval:count`, whose parts may be left out; nothing, if it is neither.
fn keepalive(value: &str) -> Option<Option<Keepalive>> {
    let time = |it: &str| match it {
        "" => Some(None),
        it => Some(Some(time::parse(it)?)),
    };
    let mut parts = value.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("on"), None, None, None) => Some(Some(Keepalive::default())),
        (Some("off"), None, None, None) => Some(None),
        (Some(idle), Some(interval), Some(count), None) => {
            let count = match count {
                "" => None,
                count => Some(count.parse().ok()?),
            };
            Some(Some(Keepalive { idle: time(idle)?, interval: time(interval)?, count }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<Listener>, String> {
        let entries: Vec<String> = text.split(',').map(|it| it.trim().to_owned()).collect();
        parse("proxy_listen", &entries)
    }

    #[test]
    fn flags_and_brackets_are_understood() {
        let found = read("0.0.0.0:8443 http2 ssl reuseport backlog=16384, [::1]:80 ipv6only=on");
        let found = found.unwrap();
        assert!(found[0].http2 && found[0].ssl && found[0].reuseport);
        assert_eq!(found[0].backlog, Some(16384));
        assert_eq!(found[1].addr, "[::1]:80".parse().unwrap());
        assert_eq!(found[1].ipv6only, Some(true));
    }

    #[test]
    fn a_first_entry_off_means_none() {
        assert_eq!(read("off"), Ok(vec![]));
        assert_eq!(read("off, 0.0.0.0:80"), Ok(vec![]));
    }

    #[test]
    fn anything_else_is_refused_with_the_whole_form() {
        for text in ["8000", "0.0.0.0", "::1:80", "0.0.0.0:99999", "0.0.0.0:80 tls", ""] {
            let message = read(text).unwrap_err();
            assert!(message.starts_with("proxy_listen must be of form: [off] | <ip>:<port> [ssl]"));
            assert!(message.ends_with("[so_keepalive=%w*:%w*:%d*], [... next entry ...]"));
        }
    }

    #[test]
    fn streams_know_other_flags() {
        let read = |text: &str| {
            let entries: Vec<String> = text.split(',').map(|it| it.trim().to_owned()).collect();
            parse_streams("stream_listen", &entries)
        };
        assert_eq!(read("off"), Ok(vec![]));
        let found = read("127.0.0.1:53 udp reuseport, [::]:9443 ssl proxy_protocol").unwrap();
        assert!(found[0].udp && !found[0].ssl && found[1].ssl && found[1].proxy_protocol);
        assert_eq!(found[0].to_string(), "127.0.0.1:53 udp reuseport");
        for text in ["0.0.0.0:80 http2", "0.0.0.0:80 deferred", "0.0.0.0 udp"] {
            let message = read(text).unwrap_err();
            assert!(
                message.starts_with("stream_listen must be of form: [off] | <ip>:<port> [udp]")
            );
        }
        for flag in ["ssl", "proxy_protocol", "backlog=5", "so_keepalive=on"] {
            let name = flag.split('=').next().unwrap();
            let message = read(&format!("0.0.0.0:53 udp {flag}")).unwrap_err();
            assert!(message.contains(&format!("'{name}' is incompatible with 'udp'")), "{message}");
        }
    }

    #[test]
    fn keepalive_takes_a_triple() {
        let found = read("1.2.3.4:80 so_keepalive=30m::10").unwrap();
        assert_eq!(found[0].so_keepalive.as_deref(), Some("30m::10"));
        assert!(read("1.2.3.4:80 so_keepalive=30m").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(port: u16, ssl: bool, http2: bool, backlog: Option<u32>) {
            let mut listener = Listener::at(SocketAddr::from(([10, 0, 0, 1], port)));
            (listener.ssl, listener.http2, listener.backlog) = (ssl, http2, backlog);
            prop_assert_eq!(read(&listener.to_string()), Ok(vec![listener]));
        }
    }
}
