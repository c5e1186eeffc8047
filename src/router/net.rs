//! What is matched below HTTP: protocol, server name, addresses and ports.

use std::net::{IpAddr, SocketAddr};

use super::NetView;
use crate::domain::kinds::route::{Endpoint, Flavour, Route};

/// What a connection speaks, as `net.protocol` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP without TLS.
    Http,
    /// HTTP over TLS.
    Https,
    /// Anything over TCP; also TLS that is passed through.
    Tcp,
    /// Anything over TLS that ends here.
    Tls,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// Returns the name that expressions compare with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }

    fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
}

/// What a route asks below HTTP.
#[derive(Debug, Default)]
pub(super) struct NetRules {
    /// Which protocols; all, if it is empty.
    protocols: Vec<Protocol>,
    snis: Vec<Box<str>>,
    sources: Vec<EndpointRule>,
    destinations: Vec<EndpointRule>,
    traditional: bool,
}

#[derive(Debug)]
struct EndpointRule {
    network: Option<Network>,
    port: Option<u16>,
}

/// A range of addresses; one address is a range of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    ip: IpAddr,
    bits: u8,
}

impl Network {
    /// Makes a range of `bits` leading bits.
    pub(super) fn new(ip: IpAddr, bits: u8) -> Self {
        Self { ip, bits }
    }

    fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().ok()?;
        let bits = match bits {
            Some(bits) => bits.parse().ok()?,
            None if ip.is_ipv4() => 32,
            None => 128,
        };
        Some(Self { ip, bits })
    }

    /// Returns whether an address is in the range.
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits.min(32))).unwrap_or(0);
                own.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits.min(128))).unwrap_or(0);
                own.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl NetRules {
    /// Reads them off a route.
    pub(super) fn of(flavour: Flavour, route: &Route) -> Result<Self, String> {
        let snis = route.snis.iter().map(|sni| sni.strip_suffix('.').unwrap_or(sni).into());
        Ok(Self {
            protocols: protocols(flavour, route),
            snis: snis.collect(),
            sources: endpoints(&route.sources)?,
            destinations: endpoints(&route.destinations)?,
            traditional: flavour == Flavour::Traditional,
        })
    }

    /// Returns whether everything is let through.
    pub(super) fn is_empty(&self) -> bool {
        self.protocols.is_empty()
            && self.snis.is_empty()
            && self.sources.is_empty()
            && self.destinations.is_empty()
    }

    /// Returns whether a connection fits. `plain` says what `traditional` makes of server names
    /// where there is no TLS; the other flavours do not look at them then.
    pub(super) fn admit(&self, net: &NetView<'_>, plain: bool) -> bool {
        let any = |rules: &[EndpointRule], address| {
            rules.is_empty() || rules.iter().any(|rule| rule.admits(address))
        };
        (self.protocols.is_empty() || self.protocols.contains(&net.protocol))
            && (self.snis.is_empty() || self.admit_sni(net, plain))
            && any(&self.sources, net.source)
            && any(&self.destinations, net.destination)
    }

    fn admit_sni(&self, net: &NetView<'_>, plain: bool) -> bool {
        if !net.protocol.is_encrypted() && (!self.traditional || net.protocol == Protocol::Http) {
            return !self.traditional || plain;
        }
        let Some(sni) = net.sni.map(|sni| sni.strip_suffix('.').unwrap_or(sni)) else {
            return false;
        };
        self.snis.iter().any(|wanted| {
            if self.traditional {
                sni == &**wanted
            } else if let Some(suffix) = wanted.strip_prefix('*') {
                sni.ends_with(suffix)
            } else if let Some(prefix) = wanted.strip_suffix('*') {
                sni.starts_with(prefix)
            } else {
                sni == &**wanted
            }
        })
    }
}

impl EndpointRule {
    fn admits(&self, address: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == address.port())
            && self.network.is_none_or(|network| network.contains(address.ip().to_canonical()))
    }
}

fn endpoints(endpoints: &[Endpoint]) -> Result<Vec<EndpointRule>, String> {
    let rule = |endpoint: &Endpoint| {
        let network = endpoint.ip.as_deref().map(|ip| {
            Network::parse(ip).ok_or_else(|| format!("invalid ip or cidr range: '{ip}'"))
        });
        Ok(EndpointRule { network: network.transpose()?, port: endpoint.port })
    };
    endpoints.iter().map(rule).collect()
}

/// Only expressions ask for the protocol, and not where it is the one that plain connections are
/// redirected to.
fn protocols(flavour: Flavour, route: &Route) -> Vec<Protocol> {
    let redirects = matches!(&route.protocols[..],
        [only] if matches!(only.as_str(), "https" | "tls" | "tls_passthrough"));
    if flavour != Flavour::Expressions || redirects {
        return Vec::new();
    }
    let protocol = |name: &String| match name.as_str() {
        "http" | "grpc" => Some(Protocol::Http),
        "https" | "grpcs" => Some(Protocol::Https),
        "tcp" | "tls_passthrough" => Some(Protocol::Tcp),
        "tls" => Some(Protocol::Tls),
        "udp" => Some(Protocol::Udp),
        _ => None,
    };
    route.protocols.iter().filter_map(protocol).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_their_addresses() {
        for (range, address, holds) in [
            ("10.0.0.0/8", "10.9.9.9", true),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::", true),
            ("::/0", "2001:db8:1::", true),
            ("::1", "::2", false),
        ] {
            let network = Network::parse(range).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), holds, "{range} {address}");
        }
    }
}
