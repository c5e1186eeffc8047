//! How targets do, as the status API tells it (reference gateway-3, section E.3).

use std::net::IpAddr;

use crate::balancer::Balancer;
use crate::balancer::address::{Address, Member};
use crate::balancer::target::Endpoint;

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
pub struct AddressReport {
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
    pub addresses: Vec<AddressReport>,
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
        let target = Endpoint::new(host, port);
        let generation = self.generation();
        let members = generation.members().iter().filter(|it| it.address.target == target);
        let addresses: Vec<_> = members.map(|it| self.address_report(it)).collect();
        let health =
            match addresses.iter().find(|it| it.health.is_available()).or(addresses.first()) {
                Some(address) => address.health,
                None if generation.targets().contains(&target) => self.health_without_address(),
                None => return TargetHealth::unchecked(),
            };
        TargetHealth { health, addresses }
    }

    /// Returns how one of its addresses does.
    pub fn health_of(&self, address: &Address) -> Health {
        match (self.checks.is_on, address.health.available()) {
            (false, _) => Health::Off,
            (true, true) => Health::Healthy,
            (true, false) => Health::Unhealthy,
        }
    }

    /// Returns how a target does that has no address: nothing is known before names are resolved.
    pub fn health_without_address(&self) -> Health {
        if self.is_pending() { Health::Off } else { Health::DnsError }
    }

    fn address_report(&self, member: &Member) -> AddressReport {
        let Member { address, weight } = member;
        let health = self.health_of(address);
        AddressReport { ip: address.ip, port: address.port, weight: *weight, health }
    }
}
