//! How targets do, as the status API tells it (reference gateway-3, section E.3). The one place
//! that health checks fill: until they run, nobody checks anything.

use std::net::IpAddr;

use super::Balancer;

/// How a target, or one of its addresses, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It gets traffic.
    Healthy,
    /// It failed its checks.
    Unhealthy,
    /// Nobody checks it, so it gets traffic.
    Off,
    /// Its name has no address.
    DnsError,
}

/// One address of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressHealth {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// Its part of the target's weight.
    pub weight: u32,
    /// How it does.
    pub health: Health,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    /// How it does: well if one of its addresses does.
    pub health: Health,
    /// The addresses, as far as they are known.
    pub addresses: Vec<AddressHealth>,
}

impl Health {
    /// Returns Kong's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
            Self::Off => "HEALTHCHECKS_OFF",
            Self::DnsError => "DNS_ERROR",
        }
    }

    /// Returns whether traffic goes there.
    pub fn is_available(self) -> bool {
        matches!(self, Self::Healthy | Self::Off)
    }
}

impl TargetHealth {
    /// Returns what is said of a target that nobody checks.
    pub fn unchecked() -> Self {
        Self { health: Health::Off, addresses: Vec::new() }
    }
}

impl Balancer {
    /// Returns how the target at this host and port does.
    pub fn health(&self, host: &str, port: u16) -> TargetHealth {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let at = self.peers.iter().position(|it| it.port == port && &*it.host == bare);
        let Some((at, ip)) = at.and_then(|at| Some((at, self.peers[at].ip?))) else {
            return TargetHealth::unchecked();
        };
        let (weight, health) = (self.weights[at], Health::Off);
        TargetHealth { health, addresses: vec![AddressHealth { ip, port, weight, health }] }
    }
}
