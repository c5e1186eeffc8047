//! What happens when an address turns over: somebody is told once, and the upstream as a whole is
//! weighed anew (behaviour: reference gateway-3, section E.2).

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::checker::Checker;
use super::state::{Counts, Outcome, Sign, Turn};
use crate::balancer::Balancer;
use crate::balancer::address::{Address, Member, Moment};
use crate::balancer::target::Endpoint;

/// What a balancer keeps of the health of its upstream.
#[derive(Debug)]
pub struct Monitor {
    /// How often an address turned over, or there were others; shared with the balancers before
    /// and after, which share the addresses.
    version: Arc<AtomicU64>,
    /// Whether enough was available, and at which version: `version * 2 + admits`.
    admission: AtomicU64,
    told: OnceLock<Checker>,
}

/// An address that turned over, and why.
#[derive(Clone, Debug)]
pub struct HealthChange {
    /// The name of the upstream.
    pub upstream: String,
    /// The target.
    pub target: Endpoint,
    /// The address of it.
    pub address: SocketAddr,
    /// From what to what.
    pub turn: Turn,
    /// What was seen.
    pub why: Why,
}

/// What turned an address over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// How a try for a client ended.
    Traffic(Outcome),
    /// How a probe ended.
    Probe(Outcome),
    /// An operator.
    Declared,
    /// Nobody checks the upstream any more.
    Unchecked,
    /// What was known before the node was started.
    Kept,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traffic(outcome) => write!(f, "traffic: {outcome}"),
            Self::Probe(outcome) => write!(f, "probe: {outcome}"),
            Self::Declared => f.write_str("declared"),
            Self::Unchecked => f.write_str("no longer checked"),
            Self::Kept => f.write_str("known from before the start"),
        }
    }
}

/// Why an address could not be declared healthy or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// Nobody checks the upstream.
    #[error("no healthchecker found for {0}")]
    NotChecked(String),
    /// The target has no such address.
    #[error("no such address")]
    NoAddress,
}

impl Monitor {
    /// Returns the monitor of a balancer; `old` is that of the one that it replaces.
    pub(in crate::balancer) fn following(old: Option<&Self>) -> Self {
        let first = || Arc::new(AtomicU64::new(1));
        Self {
            version: old.map_or_else(first, |old| old.version.clone()),
            admission: AtomicU64::new(0),
            told: OnceLock::new(),
        }
    }

    /// Sets who is told, once.
    pub(super) fn tell(&self, checker: &Checker) {
        // A balancer that is followed already tells the same one.
        let _ = self.told.set(checker.clone());
    }

    /// Notes that the addresses or their states are others now.
    pub(in crate::balancer) fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Tells that an upstream has other addresses now.
    pub(in crate::balancer) fn tell_of_addresses(&self, upstream: Uuid) {
        if let Some(checker) = self.told.get() {
            checker.tell_of_addresses(upstream);
        }
    }
}

impl Balancer {
    /// Notes how a try for a client ended at one of the addresses.
    pub fn report(&self, address: &Address, outcome: Outcome) {
        if self.checks.is_on {
            self.note(address, self.checks.of_traffic(outcome), Why::Traffic(outcome));
        }
    }

    /// Notes how a probe ended.
    pub(super) fn report_probe(&self, address: &Address, outcome: Outcome) {
        self.note(address, self.checks.active.judge(outcome), Why::Probe(outcome));
    }

    fn note(&self, address: &Address, sign: Option<(Sign, u8)>, why: Why) {
        let Some((sign, limit)) = sign else { return };
        if let Some(turn) = address.health.note(sign, limit) {
            self.turned(address, turn, why);
        }
    }

    /// Declares a target, or one of its addresses, healthy or not.
    ///
    /// # Errors
    /// Nobody checks the upstream, or there is no such address.
    pub fn declare(
        &self,
        target: &Endpoint,
        address: Option<SocketAddr>,
        healthy: bool,
    ) -> Result<(), DeclareError> {
        if !self.checks.is_on {
            return Err(DeclareError::NotChecked(self.name.clone()));
        }
        let generation = self.generation();
        let of_target = generation.members().iter().filter(|it| it.address.target == *target);
        let mut members = of_target
            .filter(|it| address.is_none_or(|address| it.address.socket() == address))
            .peekable();
        if address.is_some() && members.peek().is_none() {
            return Err(DeclareError::NoAddress);
        }
        for Member { address, .. } in members {
            self.set(address, healthy, Why::Declared);
        }
        Ok(())
    }

    /// Sets whether an address is available.
    pub(super) fn set(&self, address: &Address, available: bool, why: Why) {
        if let Some(turn) = address.health.set_available(available) {
            self.turned(address, turn, why);
        }
    }

    /// Takes over what was counted of an address before the start.
    pub(super) fn take_over(&self, address: &Address, kept: Counts) {
        if let Some(turn) = address.health.take_over(kept) {
            self.turned(address, turn, Why::Kept);
        }
    }

    fn turned(&self, address: &Address, turn: Turn, why: Why) {
        if address.health.available() {
            address.begin(Moment::now());
        }
        self.monitor.changed();
        if let Some(checker) = self.monitor.told.get() {
            checker.tell(HealthChange {
                upstream: self.name.clone(),
                target: address.target.clone(),
                address: address.socket(),
                turn,
                why,
            });
        }
    }

    /// Returns whether more of the weight is available than the threshold asks for. As long as
    /// nothing turns over that is known already: two loads.
    pub fn admits(&self) -> bool {
        if self.checks.threshold <= 0.0 || !self.checks.is_on {
            return true;
        }
        let monitor = &self.monitor;
        let version = monitor.version.load(Ordering::Acquire);
        let known = monitor.admission.load(Ordering::Relaxed);
        if known >> 1 == version {
            return known & 1 == 1;
        }
        let admits = self.is_above_threshold();
        let new = version << 1 | u64::from(admits);
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let is_first = monitor.admission.compare_exchange(known, new, success, failure).is_ok();
        // The first of all is no change, unless it is a bad one.
        let before = if known == 0 { 1 } else { known & 1 };
        if is_first
            && before != new & 1
            && let Some(checker) = monitor.told.get()
        {
            checker.tell_of_upstream(self.name.clone(), admits);
        }
        admits
    }

    fn is_above_threshold(&self) -> bool {
        let generation = self.generation();
        let (mut total, mut available) = (0_u64, 0_u64);
        for Member { address, weight } in generation.members() {
            let weight = u64::from(*weight);
            total += weight;
            available += if address.health.available() { weight } else { 0 };
        }
        total > 0 && available as f64 / total as f64 * 100.0 > self.checks.threshold
    }
}
