//! What is known of one address: whether it gets traffic, and how its tries ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::StatusCode;

use crate::balancer::Balancer;
use crate::balancer::address::Address;

/// How one try at an address ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Status(StatusCode),
    /// It could not be connected to, broke off, or spoke nonsense.
    Failed,
    /// Something took too long.
    TimedOut,
}

/// The health of one address. It begins healthy.
#[derive(Debug)]
pub struct AddressHealth {
    available: AtomicBool,
    answers: AtomicU64,
    failures: AtomicU64,
}

impl AddressHealth {
    /// Returns the health of an address of which nothing is known.
    pub(in crate::balancer) fn new() -> Self {
        let (answers, failures) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { available: AtomicBool::new(true), answers, failures }
    }

    /// Returns whether it gets traffic: one load.
    pub fn available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Says whether it gets traffic.
    pub fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Relaxed);
    }

    /// Returns how many tries ended with an answer, and how many without one.
    pub fn tries(&self) -> (u64, u64) {
        (self.answers.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}

impl Balancer {
    /// Notes how a try at one of the addresses ended.
    pub fn report(&self, address: &Address, outcome: Outcome) {
        let health = &address.health;
        let count = match outcome {
            Outcome::Status(_) => &health.answers,
            Outcome::Failed | Outcome::TimedOut => &health.failures,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether enough of the upstream is well for it to get traffic.
    pub fn admits(&self) -> bool {
        true
    }
}
