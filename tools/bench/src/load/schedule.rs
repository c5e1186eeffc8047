//! When requests are due at a fixed rate, and the thread that wakes the load for them.

use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;

/// Evenly spaced due instants, from the start to the end of a load.
pub(super) struct Schedule {
    start: Instant,
    rate: f64,
    /// How many requests are due in all.
    count: u64,
    taken: u64,
}

impl Schedule {
    /// Starts a schedule of `rate` requests a second and the thread that ticks for it: epoll
    /// waits in milliseconds, which is too coarse to send from.
    pub(super) fn start(rate: f64, duration: Duration, waker: Waker) -> anyhow::Result<Self> {
        anyhow::ensure!(rate > 0.0 && rate <= 1e7, "--rate: expected more than 0, at most 1e7");
        let start = Instant::now();
        let count = (rate * duration.as_secs_f64()) as u64;
        thread::spawn(move || {
            let mut next = 0;
            while next < count {
                let due = start + Duration::from_secs_f64(next as f64 / rate);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if waker.wake().is_err() {
                    return;
                }
                next = (start.elapsed().as_secs_f64() * rate) as u64 + 1;
            }
        });
        Ok(Self { start, rate, count, taken: 0 })
    }

    /// Takes the next request that is due by `now` and returns the instant it was due at.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Instant> {
        if self.taken >= self.count {
            return None;
        }
        let due = self.start + Duration::from_secs_f64(self.taken as f64 / self.rate);
        (due <= now).then(|| {
            self.taken += 1;
            due
        })
    }

    /// Returns how many requests are due and not taken.
    pub(super) fn due_count(&self) -> u64 {
        let due = (self.start.elapsed().as_secs_f64() * self.rate) as u64;
        due.min(self.count).saturating_sub(self.taken)
    }
}
