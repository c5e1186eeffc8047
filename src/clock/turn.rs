//! The time as of the present turn of a thread's event loop.
//!
//! A proxied request asks for the time nine times, which is more than its routing costs. As nginx
//! does, a proxy core reads the clock once for many of them: what it tells is at most a turn old,
//! and a turn that is long reads it again. Other threads read the clock each time.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Instant;

use super::machine_ms;

/// How often a reading is used before the clock is read again, so that a turn in which much is to do
/// does not tell an old time.
const USES_MAX: u8 = 32;

thread_local! {
    static TURN: Turn = const {
        Turn { is_kept: Cell::new(false), uses_left: Cell::new(0), read: Cell::new(None) }
    };
}

/// What a thread knows of the time.
struct Turn {
    is_kept: Cell<bool>,
    uses_left: Cell<u8>,
    read: Cell<Option<Reading>>,
}

#[derive(Clone, Copy)]
struct Reading {
    now: Instant,
    ms: i64,
}

impl Turn {
    fn reading(&self) -> Reading {
        if let (Some(left), Some(reading)) = (self.uses_left.get().checked_sub(1), self.read.get())
        {
            self.uses_left.set(left);
            return reading;
        }
        let reading = Reading { now: Instant::now(), ms: machine_ms() };
        self.read.set(Some(reading));
        self.uses_left.set(USES_MAX);
        reading
    }
}

/// Runs the event loop of this thread. Each poll of it is a turn, in which readings are kept. (That the
/// runtime has waited is no sign of a turn: while a task yields over and over, it looks for events
/// without waiting.)
pub async fn keep<T>(event_loop: impl Future<Output = T>) -> T {
    let mut event_loop = pin!(event_loop);
    poll_fn(|cx| {
        TURN.with(|turn| {
            turn.is_kept.set(true);
            turn.uses_left.set(0);
        });
        let polled = event_loop.as_mut().poll(cx);
        TURN.with(|turn| turn.is_kept.set(false));
        polled
    })
    .await
}

/// Returns the moment of this turn.
pub fn now() -> Instant {
    TURN.with(|turn| if turn.is_kept.get() { turn.reading().now } else { Instant::now() })
}

/// Returns the machine's time of this turn, in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    TURN.with(|turn| if turn.is_kept.get() { turn.reading().ms } else { machine_ms() })
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;

    fn pass() {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1) {
            thread::yield_now();
        }
    }

    /// Runs something as a proxy core would.
    fn on_a_core<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(keep(LocalSet::new().run_until(work)))
    }

    #[test]
    fn a_turn_has_one_time_and_the_next_another() {
        on_a_core(async {
            let first = now();
            pass();
            assert_eq!(first, now());
            tokio::task::yield_now().await;
            assert!(now() >= first + Duration::from_millis(1));
        });
        let outside = now();
        pass();
        assert!(now() > outside);
    }

    #[test]
    fn time_goes_on_while_a_task_yields_over_and_over() {
        on_a_core(async {
            let yielding = tokio::task::spawn_local(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
            let first = now();
            pass();
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            assert!(now() > first);
            yielding.abort();
        });
    }

    #[test]
    fn a_long_turn_reads_the_clock_again() {
        on_a_core(async {
            let first = now();
            pass();
            assert!((0..=USES_MAX).any(|_| now() > first));
        });
    }

    #[test]
    fn a_thread_without_turns_reads_the_clock() {
        let first = now();
        pass();
        assert!(now() > first);
    }
}
