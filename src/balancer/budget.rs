//! A bound on retries, so that an upstream in trouble is not asked several times as much.
//!
//! Requests that were sent and failed are sent again [`FLOOR`] times within ten seconds, and once more
//! for each request. Kong has no bound. An upstream of which everything fails is asked twice as much
//! as without retries, not six times; connections that are refused burden nobody, and do not count.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// How long requests and retries are counted together, in seconds.
const WINDOW_SECONDS: u64 = 10;

/// The retries of a window that need no requests to stand for them.
const FLOOR: u32 = 100;

/// The requests and retries of the present window. Counts of cores that meet at its turn may be
/// lost, which a bound like this one bears.
#[derive(Debug)]
pub struct RetryBudget {
    origin: Instant,
    window: AtomicU64,
    requests: AtomicU32,
    retries: AtomicU32,
}

impl RetryBudget {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            window: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            retries: AtomicU32::new(0),
        }
    }

    /// Counts a request.
    pub fn count_request(&self, now: Instant) {
        self.turn(now);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a retry; returns whether it is within the bound.
    pub fn allow_retry(&self, now: Instant) -> bool {
        self.turn(now);
        let allowed = FLOOR.saturating_add(self.requests.load(Ordering::Relaxed));
        let is_allowed = self.retries.load(Ordering::Relaxed) < allowed;
        if is_allowed {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
        is_allowed
    }

    fn turn(&self, now: Instant) {
        let window = now.saturating_duration_since(self.origin).as_secs() / WINDOW_SECONDS;
        let old = self.window.load(Ordering::Relaxed);
        let turns = old != window
            && self
                .window
                .compare_exchange(old, window, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if turns {
            self.requests.store(0, Ordering::Relaxed);
            self.retries.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn there_is_a_retry_for_each_request_above_a_floor() {
        let budget = RetryBudget::new();
        let allowed =
            |budget: &RetryBudget, now| (0..10_000).filter(|_| budget.allow_retry(now)).count();
        assert_eq!(allowed(&budget, budget.origin), 100);
        for _ in 0..1_000 {
            budget.count_request(budget.origin);
        }
        assert_eq!(allowed(&budget, budget.origin), 1_000);
        let later = budget.origin + Duration::from_secs(10);
        assert_eq!(allowed(&budget, later), 100);
    }
}
