//! A thread that writes what may take a while: the newest of what it was given, when nobody else
//! wants the processor.
//!
//! Writing all of a config takes as long as there is of it, however little has changed. On a machine
//! whose cores are busy with traffic that work would be requests that wait.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// What is to be written, newest first; none of the older ones.
pub(super) struct Keeper<T>(Arc<Shared<T>>);

struct Shared<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
}

struct Slot<T> {
    /// What is not written yet, and which one it is in the order in which they were given.
    waiting: Option<(u64, Arc<T>)>,
    given: u64,
    is_over: bool,
}

impl<T: Send + Sync + 'static> Keeper<T> {
    /// Starts the thread, which calls `write` with what it is given until that says no. Each call has
    /// a number that grows; whoever else writes has to hold to their order.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(super) fn start(write: impl Fn(u64, &T) -> bool + Send + 'static) -> std::io::Result<Self> {
        let slot = Mutex::new(Slot { waiting: None, given: 0, is_over: false });
        let shared = Arc::new(Shared { slot, changed: Condvar::new() });
        let own = shared.clone();
        std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            yield_to_others();
            while let Some((number, thing)) = own.next() {
                if !write(number, &thing) {
                    return;
                }
                own.done(number);
            }
        })?;
        Ok(Self(shared))
    }

    /// Gives the thread something to write, in the place of what it has not written yet, and waits
    /// for so long; returns whether it is written.
    pub(super) fn give(&self, thing: T, within: Duration) -> bool {
        let mut slot = self.0.slot();
        slot.given += 1;
        slot.waiting = Some((slot.given, Arc::new(thing)));
        self.0.changed.notify_all();
        let waits = |slot: &mut Slot<T>| slot.waiting.is_some();
        let waited = self.0.changed.wait_timeout_while(slot, within, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting.is_none()
    }

    /// Returns what is not written yet, or about to be, and its number.
    pub(super) fn waiting(&self) -> Option<(u64, Arc<T>)> {
        self.0.slot().waiting.clone()
    }

    /// Says that what has this number is written.
    pub(super) fn done(&self, number: u64) {
        self.0.done(number);
    }
}

impl<T> Drop for Keeper<T> {
    fn drop(&mut self) {
        self.0.slot().is_over = true;
        self.0.changed.notify_all();
    }
}

impl<T> Shared<T> {
    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        // A note is made whole or not at all, so a poisoned lock is still good.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(u64, Arc<T>)> {
        let idle = |slot: &mut Slot<T>| slot.waiting.is_none() && !slot.is_over;
        let slot =
            self.changed.wait_while(self.slot(), idle).unwrap_or_else(PoisonError::into_inner);
        if slot.is_over { None } else { slot.waiting.clone() }
    }

    fn done(&self, number: u64) {
        let mut slot = self.slot();
        if slot.waiting.as_ref().is_some_and(|(waiting, _)| *waiting <= number) {
            slot.waiting = None;
            drop(slot);
            self.changed.notify_all();
        }
    }
}

/// Asks the system to run this thread when nobody else wants to run.
fn yield_to_others() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let asked = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    if let Err(error) = asked {
        tracing::debug!(?error, "the config cache is written at usual priority");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A test that waits this long has failed.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn of_what_waits_only_the_newest_is_written() {
        let (entered, told) = mpsc::channel();
        let (allow, allowed) = mpsc::channel::<()>();
        let keeper = Keeper::start(move |number, thing: &u8| {
            entered.send((number, *thing)).unwrap();
            allowed.recv_timeout(PATIENCE).is_ok()
        })
        .unwrap();
        assert!(!keeper.give(10, Duration::ZERO));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (1, 10));
        for thing in [11, 12] {
            assert!(!keeper.give(thing, Duration::ZERO));
        }
        allow.send(()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (3, 12));
        allow.send(()).unwrap();
    }

    #[test]
    fn what_somebody_else_has_written_is_not_written_again() {
        let (entered, told) = mpsc::channel();
        let (allow, allowed) = mpsc::channel::<()>();
        let keeper = Keeper::start(move |_, thing: &u8| {
            entered.send(*thing).unwrap();
            allowed.recv_timeout(PATIENCE).is_ok()
        })
        .unwrap();
        assert!(!keeper.give(1, Duration::ZERO));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 1);
        assert!(!keeper.give(2, Duration::ZERO));
        let (number, thing) = keeper.waiting().unwrap();
        assert_eq!((number, *thing), (2, 2));
        keeper.done(number);
        assert!(keeper.waiting().is_none());
        allow.send(()).unwrap();
        drop(keeper);
        // The thread ends, and with it the sender.
        let ended = told.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn whoever_gives_something_waits_until_it_is_written() {
        let keeper = Keeper::start(|_, _: &u8| true).unwrap();
        for thing in 0..100 {
            assert!(keeper.give(thing, PATIENCE));
        }
    }
}
