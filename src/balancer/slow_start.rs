//! A slow start: the share of an address that comes, or comes back, grows from nothing to the whole
//! in a straight line (`upstream_slow_start`). Kong has none.
//!
//! In turn, such an address is passed over as often as its share is not yet whole; where scores are
//! compared, its weight is that much less. Hashing goes by keys alone: there is no slow start of it.

use std::time::Duration;

use super::address::{Address, Moment};
use super::hash::mix;

/// No address has less than this share of its weight where weights divide.
const SHARE_MIN: f64 = 0.001;

/// How long a slow start takes; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlowStart {
    nanos: u64,
}

impl SlowStart {
    /// Makes one of this length.
    pub(super) fn within(length: Duration) -> Self {
        Self { nanos: u64::try_from(length.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Returns which part of its share an address gets, above 0 and up to 1.
    pub(super) fn share(self, address: &Address, now: Moment) -> f64 {
        if self.nanos == 0 {
            return 1.0;
        }
        match address.begun_ns(now) {
            Some(begun) if begun < self.nanos => (begun as f64 / self.nanos as f64).max(SHARE_MIN),
            _ => 1.0,
        }
    }

    /// Returns whether an address takes a turn that has come to it.
    pub(super) fn takes(self, turn: u64, address: &Address, now: Moment) -> bool {
        let share = self.share(address, now);
        // Evenly within 0 and 1, and another one for each turn.
        share >= 1.0 || (mix(turn) >> 11) as f64 / 9_007_199_254_740_992.0 < share
    }
}
