//! Host names to addresses (behaviour: reference gateway-3, section E.1, and Kong's `dns_*` settings).
//!
//! One task asks name servers ([`resolver`]), off the proxy cores; it tells balancers what the names
//! of their targets stand for, and answers cores. Each core keeps the answers that it got
//! ([`core`]), so that a request takes no lock for a name.
//!
//! Invariants:
//! - a name is asked for once at a time;
//! - an answer is used until its time is over, and after that while it is renewed;
//! - a failure leaves the old answer standing.

mod client;
pub mod core;
mod hosts;
pub mod resolver;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Dns;

/// What a name stands for, at least one address unless it was asked for in vain.
pub type Records = Arc<[Record]>;

/// One address of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The address.
    pub ip: IpAddr,
    /// The name that an SRV record gives.
    pub srv_name: Option<Arc<str>>,
    /// The port that an SRV record gives; none when it gives 0.
    pub port: Option<u16>,
    /// The weight that an SRV record gives, at least 1.
    pub weight: Option<u32>,
}

impl Record {
    /// Makes a record of an address alone.
    pub fn of(ip: IpAddr) -> Self {
        Self { ip, srv_name: None, port: None, weight: None }
    }
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot resolve {host}: {reason}")]
pub struct ResolveError {
    /// The name.
    pub host: Arc<str>,
    /// What was said.
    pub reason: Arc<str>,
    /// Whether it was said that there is none; otherwise nobody could say.
    pub is_certain: bool,
}

impl ResolveError {
    /// Makes the error of somebody who waits no longer.
    pub fn late(host: &Arc<str>) -> Self {
        let reason = "no answer within connect_timeout".into();
        Self { host: host.clone(), reason, is_certain: false }
    }
}

/// The answer for a name, with how long it is good for.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The addresses; old ones while new ones cannot be had.
    pub result: Result<Records, ResolveError>,
    /// Until when it is used without another look.
    fresh_until: Instant,
    /// Until when its addresses are used while they are renewed.
    stale_until: Instant,
}

/// A record type that names are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Srv,
    A,
    Aaaa,
}

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct Options {
    /// The settings.
    settings: Dns,
    /// Whether the type that a name had last is tried first.
    last_first: bool,
    order: Vec<Kind>,
}

impl Options {
    /// Reads the settings.
    pub fn new(settings: &Dns) -> Self {
        let has = |wanted: &str| settings.order.iter().any(|name| name == wanted);
        // An answer for A brings the names on the way along: CNAME needs no question of its own.
        let kind = |name: &String| match name.as_str() {
            "SRV" => Some(Kind::Srv),
            "A" => Some(Kind::A),
            "AAAA" => Some(Kind::Aaaa),
            "CNAME" if !has("A") && !has("AAAA") => Some(Kind::A),
            _ => None,
        };
        let order = settings.order.iter().filter_map(kind).collect();
        Self { settings: settings.clone(), last_first: has("LAST"), order }
    }

    /// Returns whether a name is asked for by a type.
    fn asks(&self, host: &str, kind: Kind) -> bool {
        kind != Kind::Srv || !self.settings.srv_by_form || host.starts_with('_')
    }

    /// Returns how long an answer with this time to live is used.
    fn ttl(&self, ttl: Duration) -> Duration {
        self.settings.valid_ttl.unwrap_or(ttl)
    }

    /// Returns for how long a failure is remembered.
    fn failure_ttl(&self, error: &ResolveError) -> Duration {
        match error.is_certain {
            true => self.settings.not_found_ttl,
            false => self.settings.error_ttl,
        }
    }
}

impl Answer {
    /// Returns whether it will do, if only while it is renewed.
    fn is_usable(&self, now: Instant) -> bool {
        self.fresh_until > now || self.result.is_ok() && self.stale_until > now
    }

    /// Makes the answer of a failure.
    fn failed(error: ResolveError, options: &Options, now: Instant) -> Self {
        let fresh_until = now + options.failure_ttl(&error);
        Self { result: Err(error), fresh_until, stale_until: fresh_until }
    }
}
