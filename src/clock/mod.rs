//! Time and ids: the one door to the machine's clock and randomness, so that tests can set both.

pub mod turn;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// Where the time and fresh ids come from: the machine, or a seed.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock and random generator.
    System,
    /// A clock that stands still until [`Clock::advance`] and counts its ids; for tests.
    Seeded(Arc<Seeded>),
}

/// The state of a seeded clock.
#[derive(Debug)]
pub struct Seeded {
    start: DateTime<Utc>,
    elapsed_ms: AtomicU64,
    draws: AtomicU64,
    seed: u64,
}

impl Clock {
    /// Returns a clock that starts at `start` and draws its ids from `seed`.
    pub fn seeded(start: DateTime<Utc>, seed: u64) -> Self {
        Self::Seeded(Arc::new(Seeded {
            start,
            elapsed_ms: AtomicU64::new(0),
            draws: AtomicU64::new(0),
            seed,
        }))
    }

    /// Returns the present moment.
    #[expect(clippy::disallowed_methods, reason = "this is the door to the machine's clock")]
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now(),
            Self::Seeded(seeded) => {
                let elapsed_ms = seeded.elapsed_ms.load(Ordering::Relaxed);
                seeded.start + TimeDelta::milliseconds(elapsed_ms.try_into().unwrap_or(i64::MAX))
            }
        }
    }

    /// Returns the present moment in milliseconds since 1970: what every request asks for, without
    /// the cost of a calendar.
    pub fn now_ms(&self) -> i64 {
        match self {
            Self::System => turn::now_ms(),
            Self::Seeded(_) => self.now().timestamp_millis(),
        }
    }

    /// Returns a new random (version 4) id.
    #[expect(clippy::disallowed_methods, reason = "this is the door to the machine's randomness")]
    pub fn id(&self) -> Uuid {
        match self {
            Self::System => Uuid::new_v4(),
            Self::Seeded(seeded) => {
                let high = mix(seeded.seed ^ mix(seeded.draws.fetch_add(1, Ordering::Relaxed)));
                let low = mix(high);
                let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
                uuid::Builder::from_random_bytes(bytes).into_uuid()
            }
        }
    }

    /// Returns 64 random bits, for jitter.
    pub fn random(&self) -> u64 {
        let (high, low) = self.id().as_u64_pair();
        mix(high ^ low.rotate_left(32))
    }

    /// Moves a seeded clock on; the machine's clock does not listen.
    pub fn advance(&self, ms: u64) {
        if let Self::Seeded(seeded) = self {
            seeded.elapsed_ms.fetch_add(ms, Ordering::Relaxed);
        }
    }
}

/// Reads the machine's clock, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the door to the machine's clock")]
fn machine_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or_default()
}

/// Spreads the bits of a counter (the finalizer of splitmix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
