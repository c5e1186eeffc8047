//! The time as of the present turn of a thread's event loop.
//!
//! A proxied request asks for the time nine times, which is more than its routing costs. As nginx
//! does, a proxy core reads the clock once for many of them: what it tells is at most a turn old,
//! and a turn that is long reads it again. Other threads read the clock each time.

use std::cell::Cell;
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

/// Lets this thread keep readings within a turn. Its event loop must call [`end`] whenever it has
/// waited.
pub fn keep() {
    TURN.with(|turn| turn.is_kept.set(true));
}

/// Ends the turn: the time is another one now.
pub fn end() {
    TURN.with(|turn| turn.uses_left.set(0));
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

    use super::*;

    fn pass() {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_turn_has_one_time_and_the_next_another() {
        let told = thread::spawn(|| {
            keep();
            let first = now();
            pass();
            let same = now();
            end();
            (first, same, now())
        });
        let (first, same, next) = told.join().unwrap();
        assert_eq!(first, same);
        assert!(next >= first + Duration::from_millis(1));
    }

    #[test]
    fn a_long_turn_reads_the_clock_again() {
        let told = thread::spawn(|| {
            keep();
            let first = now();
            pass();
            (0..=USES_MAX).any(|_| now() > first)
        });
        assert!(told.join().unwrap());
    }

    #[test]
    fn a_thread_without_turns_reads_the_clock() {
        let first = now();
        pass();
        assert!(now() > first);
    }
}
