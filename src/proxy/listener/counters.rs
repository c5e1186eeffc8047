//! What the status API tells of client connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sums over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Of those, the ones that got past the TLS handshake.
    pub handled: u64,
    /// Open now, switched protocols included.
    pub active: u64,
    /// Requests that a handler works on now.
    pub writing: u64,
    /// Requests since the start.
    pub requests: u64,
}

/// The counters of one core, written by that core alone: no read-modify-write is needed.
#[derive(Debug, Default)]
pub(super) struct CoreCounters {
    pub(super) accepted: Counter,
    pub(super) handled: Counter,
    pub(super) active: Counter,
    pub(super) writing: Counter,
    pub(super) requests: Counter,
}

/// A number that one core writes and anybody reads.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Counter(AtomicU64);

impl Counter {
    pub(in crate::proxy) fn add(&self) {
        self.0.store(self.value().wrapping_add(1), Ordering::Relaxed);
    }

    pub(in crate::proxy) fn subtract(&self) {
        self.0.store(self.value().saturating_sub(1), Ordering::Relaxed);
    }

    pub(in crate::proxy) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) fn sum(cores: &[Arc<CoreCounters>]) -> ConnectionCounts {
    cores.iter().fold(ConnectionCounts::default(), |sum, core| ConnectionCounts {
        accepted: sum.accepted + core.accepted.value(),
        handled: sum.handled + core.handled.value(),
        active: sum.active + core.active.value(),
        writing: sum.writing + core.writing.value(),
        requests: sum.requests + core.requests.value(),
    })
}
