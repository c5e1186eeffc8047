//! Ids of requests.

use std::cell::Cell;

use crate::clock::Clock;
use crate::plugins::exchange::RequestId;

/// Request ids: drawn from the machine's randomness once, then mixed, since a system call for each
/// request would cost more than its routing.
pub(super) struct Ids {
    seed: [u64; 2],
    drawn: Cell<u64>,
}

impl Ids {
    /// Begins a row of ids of its own.
    pub(super) fn new(clock: &Clock) -> Self {
        Self { seed: [clock.random(), clock.random()], drawn: Cell::new(0) }
    }

    /// Returns one that no other request has.
    pub(super) fn next(&self) -> RequestId {
        let count = self.drawn.get().wrapping_add(1);
        self.drawn.set(count);
        let mix = |value: u64| {
            let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            value ^ (value >> 31)
        };
        let step = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let high = mix(self.seed[0].wrapping_add(step));
        let low = mix(self.seed[1] ^ step);
        RequestId::new(u128::from(high) << 64 | u128::from(low))
    }
}
