//! Makes what takes a while to make, of the newest thing that was given, on a thread that runs when nobody
//! else wants the processor.
//!
//! The first file form of a config takes as long as there is of it, the next one as long as what has
//! changed and a copy of the rest. On a machine whose cores are busy with traffic that work would be
//! requests that wait.
//!
//! Where nobody leaves a core, the thread may not get its turn for long. So it holds no lock while it
//! works, and writes no file: all that others may have to wait for is theirs to do. And it is there only
//! while there is something to make: a process ends with the last of its threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The nice value of who gets least.
const LEAST: i32 = 19;

/// Makes an `R` of a `T`: of the newest, and of none of the older ones.
pub(super) struct Keeper<T, R>(Arc<Shared<T, R>>);

struct Shared<T, R> {
    make: Box<dyn Fn(&T) -> R + Send + Sync>,
    slot: Mutex<Slot<T, R>>,
    changed: Condvar,
}

struct Slot<T, R> {
    /// How many things were given.
    given: u64,
    /// Which of them somebody waits for.
    wanted: Option<u64>,
    /// What the thread has not begun with.
    next: Option<(u64, Arc<T>)>,
    /// What was made of the one that is wanted.
    made: Option<R>,
    /// Whether there is a thread.
    is_working: bool,
}

impl<T: Send + Sync + 'static, R: Send + 'static> Keeper<T, R> {
    pub(super) fn new(make: impl Fn(&T) -> R + Send + Sync + 'static) -> Self {
        let slot = Slot { given: 0, wanted: None, next: None, made: None, is_working: false };
        let (slot, changed) = (Mutex::new(slot), Condvar::new());
        Self(Arc::new(Shared { make: Box::new(make), slot, changed }))
    }

    /// Counts something that the caller makes, in the place of what was not begun with. Returns which
    /// one that is, in the order in which they were given.
    pub(super) fn pass(&self) -> u64 {
        let mut slot = self.0.slot();
        slot.given += 1;
        (slot.wanted, slot.next, slot.made) = (None, None, None);
        // Whoever waits for another one need not wait any more.
        self.0.changed.notify_all();
        slot.given
    }

    /// Takes something in the place of what was not begun with, and waits for so long. Returns which one
    /// that was, in the order in which they were given, and what was made of it: nothing if that takes
    /// longer, if another one was given meanwhile, or if there is no thread to be had.
    pub(super) fn make(&self, thing: Arc<T>, within: Duration) -> (u64, Option<R>) {
        let mut slot = self.0.slot();
        slot.given += 1;
        let number = slot.given;
        (slot.wanted, slot.next, slot.made) = (Some(number), Some((number, thing)), None);
        // Whoever waits for another one need not wait any more.
        self.0.changed.notify_all();
        if !slot.is_working {
            let own = self.0.clone();
            let begun = std::thread::Builder::new().name("keeper".to_owned());
            slot.is_working = begun.spawn(move || own.work()).is_ok();
        }
        let within = if slot.is_working { within } else { Duration::ZERO };
        let waits = |slot: &mut Slot<T, R>| slot.wanted == Some(number) && slot.made.is_none();
        let waited = self.0.changed.wait_timeout_while(slot, within, waits);
        let mut slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        if slot.wanted != Some(number) {
            return (number, None);
        }
        // Nobody comes back for it.
        (slot.wanted, slot.next) = (None, None);
        (number, slot.made.take())
    }
}

impl<T, R> Shared<T, R> {
    fn slot(&self) -> MutexGuard<'_, Slot<T, R>> {
        // A note is made whole or not at all, so a poisoned lock is still good.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        yield_to_others();
        while let Some((number, thing)) = self.next() {
            self.done(number, (self.make)(&thing));
        }
    }

    fn next(&self) -> Option<(u64, Arc<T>)> {
        let mut slot = self.slot();
        let next = slot.next.take();
        slot.is_working = next.is_some();
        next
    }

    fn done(&self, number: u64, made: R) {
        let mut slot = self.slot();
        if slot.wanted == Some(number) {
            slot.made = Some(made);
            drop(slot);
            self.changed.notify_all();
        }
    }
}

/// Asks the system to run this thread when nobody else wants to run, or nearly so.
fn yield_to_others() {
    // Elsewhere it would be asked of the whole process.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::setpriority_process(None, LEAST)
    {
        tracing::debug!(%error, "the config cache is made at usual priority");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A test that waits this long has failed.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn whoever_gives_something_gets_what_is_made_of_it() {
        let keeper = Keeper::new(|thing: &u32| thing + 1);
        for thing in 0..100 {
            let (number, made) = keeper.make(Arc::new(thing), PATIENCE);
            assert_eq!((number, made), (u64::from(thing) + 1, Some(thing + 1)));
        }
    }

    #[test]
    fn nobody_waits_for_a_thread_that_does_not_get_its_turn() {
        let (entered, told) = mpsc::channel();
        let (allow, allowed) = mpsc::channel::<()>();
        let allowed = Mutex::new(allowed);
        let keeper = Keeper::new(move |thing: &u8| {
            entered.send(*thing).unwrap();
            allowed.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            *thing
        });
        let giver = |thing, within| keeper.make(Arc::new(thing), within);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| giver(10, PATIENCE));
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 10);
            // It works on the first for ever: the others are not held up, and the first learns
            // that it is not the newest.
            for number in 2..5 {
                assert_eq!(giver(11, Duration::ZERO), (number, None));
            }
            assert_eq!(first.join().unwrap(), (1, None));
            let passed = scope.spawn(|| giver(12, PATIENCE));
            while keeper.0.slot().given < 5 {
                std::thread::yield_now();
            }
            assert_eq!(keeper.pass(), 6);
            assert_eq!(passed.join().unwrap(), (5, None));
            let last = scope.spawn(|| giver(13, PATIENCE));
            for _ in 0..2 {
                allow.send(()).unwrap();
            }
            // What was made of the first is nobody's, and of those between nothing was.
            assert_eq!(last.join().unwrap(), (7, Some(13)));
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [13]);
        // The thread ends, and with it the last sender.
        drop(keeper);
        let ended = told.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
