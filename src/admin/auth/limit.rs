//! How often a peer may fail to authenticate, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Clock;

/// Failures of a peer in one window that are answered as such.
const FAILURES_MAX: u32 = 10;

/// How long a window is.
const WINDOW: TimeDelta = TimeDelta::seconds(60);

/// Peers that are counted apart; those that come when so many are in their window share one count.
const PEERS_MAX: usize = 4096;

/// The failures of each peer.
#[derive(Debug)]
pub(super) struct FailureLimit {
    clock: Clock,
    windows: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Debug)]
struct Window {
    end: DateTime<Utc>,
    failures: u32,
}

impl Window {
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        // A clock that was set back must not make a window longer.
        now >= self.end || self.end - now > WINDOW
    }
}

/// What a failure counted as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Its number in the window, while it is to be logged: a peer cannot fill the log.
    pub(super) number: Option<u32>,
    /// When the window ends, for a failure that is one too many.
    pub(super) retry_after_seconds: Option<u64>,
}

impl FailureLimit {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, windows: Mutex::default() }
    }

    /// Returns whether the peer may fail once more.
    pub(super) fn left(&self, peer: IpAddr) -> bool {
        let now = self.clock.now();
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.get(&key(peer)).or_else(|| windows.get(&shared()));
        window.is_none_or(|window| window.is_over(now) || window.failures < FAILURES_MAX)
    }

    /// Counts a failure.
    pub(super) fn count(&self, peer: IpAddr) -> Failure {
        let now = self.clock.now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = key(peer);
        if windows.len() >= PEERS_MAX && !windows.contains_key(&key) {
            windows.retain(|_, window| !window.is_over(now));
            if windows.len() >= PEERS_MAX {
                key = shared();
            }
        }
        let window = windows.entry(key).or_insert(Window { end: now + WINDOW, failures: 0 });
        if window.is_over(now) {
            *window = Window { end: now + WINDOW, failures: 0 };
        }
        window.failures = window.failures.saturating_add(1);
        let seconds = (window.end - now).num_milliseconds().max(0).unsigned_abs().div_ceil(1000);
        // The first one too many is logged, too: it says that the limit was reached.
        let is_logged = window.failures <= FAILURES_MAX + 1;
        Failure {
            number: is_logged.then_some(window.failures),
            retry_after_seconds: (window.failures > FAILURES_MAX).then_some(seconds.max(1)),
        }
    }
}

/// Returns what a peer is counted by: one host has a whole /64 of IPv6 addresses.
fn key(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from(address.to_bits() >> 64 << 64).into(),
    }
}

/// Stands for all peers that are not counted apart; no peer has it.
fn shared() -> IpAddr {
    Ipv6Addr::from(1_u128).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> (FailureLimit, Clock) {
        let clock = Clock::seeded(DateTime::UNIX_EPOCH, 1);
        (FailureLimit::new(clock.clone()), clock)
    }

    fn peer(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    fn exhaust(limit: &FailureLimit, peer: IpAddr) {
        for number in 1..=FAILURES_MAX {
            assert!(limit.left(peer));
            let failure = Failure { number: Some(number), retry_after_seconds: None };
            assert_eq!(limit.count(peer), failure);
        }
    }

    #[test]
    fn a_window_lets_ten_failures_through_and_then_names_its_end() {
        let (limit, clock) = limit();
        exhaust(&limit, peer(1));
        clock.advance(1_500);
        assert!(!limit.left(peer(1)));
        let late = |number| Failure { number, retry_after_seconds: Some(59) };
        assert_eq!(limit.count(peer(1)), late(Some(11)));
        assert_eq!(limit.count(peer(1)), late(None), "a peer cannot fill the log");
        assert!(limit.left(peer(2)), "others are counted apart");
        clock.advance(58_500);
        exhaust(&limit, peer(1));
    }

    #[test]
    fn one_host_does_not_gain_by_its_many_addresses() {
        let (limit, _) = limit();
        exhaust(&limit, "2001:db8::1".parse().unwrap());
        assert!(!limit.left("2001:db8::ffff:1".parse().unwrap()));
        assert!(limit.left("2001:db8:0:1::1".parse().unwrap()));
    }

    #[test]
    fn memory_is_bounded_and_a_crowd_shares_one_count() {
        let (limit, clock) = limit();
        exhaust(&limit, peer(0));
        let crowd = 3 * u32::try_from(PEERS_MAX).unwrap();
        for n in 1..crowd {
            limit.count(peer(n));
        }
        assert!(limit.windows.lock().unwrap().len() <= PEERS_MAX + 1);
        assert!(!limit.left(peer(0)), "a crowd does not wash a peer clean");
        assert!(limit.count(peer(crowd)).retry_after_seconds.is_some());
        clock.advance(60_000);
        exhaust(&limit, peer(crowd));
        assert_eq!(limit.windows.lock().unwrap().len(), 1, "old windows go");
    }
}
