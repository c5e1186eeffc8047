//! How often who called in the present windows: counts in memory, under many small locks.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Datelike as _, TimeZone as _, Utc};
use uuid::Uuid;

/// The periods of limits, shortest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

/// All periods, shortest first.
pub(super) const PERIODS: [Period; 6] =
    [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month, Period::Year];

/// One value for each period.
pub(super) type ByPeriod<T> = [T; PERIODS.len()];

impl Period {
    /// Returns how long the period is said to be, in seconds.
    pub(super) const fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Month => 2_592_000,
            Self::Year => 31_536_000,
        }
    }

    /// Returns when the window began that a moment is in; both in milliseconds since 1970, UTC.
    pub(super) fn window_start(self, now_ms: i64) -> i64 {
        let calendar = |month: fn(DateTime<Utc>) -> u32| {
            let now = DateTime::from_timestamp_millis(now_ms)?;
            let start = Utc.with_ymd_and_hms(now.year(), month(now), 1, 0, 0, 0).single()?;
            Some(start.timestamp_millis())
        };
        let fixed = now_ms - now_ms.rem_euclid(self.seconds() * 1000);
        match self {
            Self::Month => calendar(|now| now.month()).unwrap_or(fixed),
            Self::Year => calendar(|_| 1).unwrap_or(fixed),
            _ => fixed,
        }
    }
}

/// Who is counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Identifier {
    /// An address.
    Address(IpAddr),
    /// A consumer, credential or service.
    Entity(Uuid),
    /// The value of a header, or a path.
    Text(Box<str>),
}

/// What has a count of its own: scope of the plugin, and who is counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct CounterKey {
    /// The route that the plugin is limited to, or nil.
    pub(super) route: Uuid,
    /// The service that the plugin is limited to, or nil.
    pub(super) service: Uuid,
    /// Who is counted.
    pub(super) identifier: Identifier,
}

/// The counts of one key.
#[derive(Clone, Copy, Default)]
struct Window {
    start_ms: i64,
    count: u64,
}

/// What a request found.
#[derive(Debug, PartialEq)]
pub(super) struct Usage {
    /// For each period with a limit how much of it is left, this request counted.
    pub(super) remaining: ByPeriod<Option<f64>>,
    /// Whether a limit was used up before this request.
    pub(super) exceeded: bool,
}

/// How many locks share the counters.
const SHARDS: usize = 64;

/// How many counters a shard has before it looks for old ones.
const SWEEP_MIN: usize = 1024;

#[derive(Default)]
struct Shard {
    windows: HashMap<CounterKey, ByPeriod<Window>>,
    sweep_at: usize,
}

/// All counters of the process.
pub(super) struct Counters {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

impl Default for Counters {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl Counters {
    /// Counts a request unless a limit is used up; looking and counting are one step.
    pub(super) fn count(
        &self,
        key: CounterKey,
        limits: &ByPeriod<Option<f64>>,
        now_ms: i64,
    ) -> Usage {
        let at = self.hasher.hash_one(&key) as usize % SHARDS;
        let Some(shard) = self.shards.get(at) else {
            return Usage { remaining: *limits, exceeded: false };
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.sweep(now_ms);
        let windows = shard.windows.entry(key).or_default();
        let mut remaining = [None; PERIODS.len()];
        let all = PERIODS.iter().zip(limits).zip(windows.iter_mut()).zip(&mut remaining);
        for (((period, limit), window), left) in all {
            let Some(limit) = limit else { continue };
            let start_ms = period.window_start(now_ms);
            if window.start_ms != start_ms {
                *window = Window { start_ms, count: 0 };
            }
            *left = Some(limit - window.count as f64);
        }
        let exceeded = remaining.iter().flatten().any(|left| *left <= 0.0);
        for (left, window) in remaining.iter_mut().zip(windows.iter_mut()) {
            let Some(left) = left else { continue };
            if !exceeded {
                *left -= 1.0;
                window.count += 1;
            }
            *left = left.max(0.0);
        }
        Usage { remaining, exceeded }
    }
}

impl Shard {
    /// Drops counters whose windows are all over, when there are many.
    fn sweep(&mut self, now_ms: i64) {
        if self.windows.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.windows.retain(|_, windows| {
            let current = |(period, window): (&Period, &Window)| {
                window.count > 0 && window.start_ms == period.window_start(now_ms)
            };
            PERIODS.iter().zip(windows.iter()).any(current)
        });
        self.sweep_at = self.windows.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: u128) -> CounterKey {
        let identifier = Identifier::Entity(Uuid::from_u128(id));
        CounterKey { route: Uuid::nil(), service: Uuid::nil(), identifier }
    }

    #[test]
    fn windows_start_at_boundaries_of_the_calendar() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_millis();
        let now = at("2024-02-29T13:14:15.678Z");
        for (period, start) in PERIODS.iter().zip([
            "2024-02-29T13:14:15Z",
            "2024-02-29T13:14:00Z",
            "2024-02-29T13:00:00Z",
            "2024-02-29T00:00:00Z",
            "2024-02-01T00:00:00Z",
            "2024-01-01T00:00:00Z",
        ]) {
            assert_eq!(period.window_start(now), at(start), "{period:?}");
        }
    }

    #[test]
    fn blocked_requests_are_not_counted() {
        let counters = Counters::default();
        let limits = [Some(1.0), None, Some(3.0), None, None, None];
        let first = counters.count(key(1), &limits, 0);
        assert_eq!(first.remaining, [Some(0.0), None, Some(2.0), None, None, None]);
        for _ in 0..5 {
            let blocked = counters.count(key(1), &limits, 999);
            assert!(blocked.exceeded);
            assert_eq!(blocked.remaining[2], Some(2.0));
        }
        assert!(!counters.count(key(2), &limits, 999).exceeded);
        let next = counters.count(key(1), &limits, 1000);
        assert_eq!((next.exceeded, next.remaining[2]), (false, Some(1.0)));
    }

    #[test]
    fn old_counters_are_swept() {
        let counters = Counters::default();
        let limits = [Some(1.0), None, None, None, None, None];
        for id in 0..200_000 {
            counters.count(key(id), &limits, id as i64);
        }
        let held: usize = counters.shards.iter().map(|s| s.lock().unwrap().windows.len()).sum();
        assert!(held <= SHARDS * (SWEEP_MIN + 1), "{held}");
    }

    proptest! {
        /// No window ever passes more than its limit.
        #[test]
        fn limits_hold(limit in 1_u32..5, steps in prop::collection::vec(0_i64..700, 1..100)) {
            let counters = Counters::default();
            let limits = [Some(f64::from(limit)), None, None, None, None, None];
            let (mut now, mut passed) = (0, HashMap::new());
            for step in steps {
                now += step;
                if !counters.count(key(1), &limits, now).exceeded {
                    *passed.entry(now / 1000).or_insert(0) += 1;
                }
            }
            prop_assert!(passed.values().all(|count| *count <= limit));
        }
    }
}
