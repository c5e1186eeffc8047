//! Which streams of a connection want to be polled: one task polls them all, but only those that
//! were woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The woken places of a connection.
#[derive(Debug)]
pub(super) struct Ready {
    task: Waker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were woken, each once.
    woken: Vec<usize>,
    /// Whether the task looks here before it rests, so that nobody need wake it.
    awake: bool,
}

impl Ready {
    /// Makes the list of the connection that `task` wakes.
    pub(super) fn new(task: Waker) -> Arc<Self> {
        Arc::new(Self { task, state: Mutex::default() })
    }

    /// Begins a turn: who is woken from now on is seen without waking the task.
    pub(super) fn begin(&self) {
        self.state().awake = true;
    }

    /// Moves the woken places to the end of `list`.
    pub(super) fn take(&self, list: &mut Vec<usize>) {
        list.append(&mut self.state().woken);
    }

    /// Ends a turn; false when somebody was woken meanwhile, and the turn goes on.
    pub(super) fn rest(&self) -> bool {
        let mut state = self.state();
        state.awake = !state.woken.is_empty();
        !state.awake
    }

    fn wake(&self, place: usize) {
        let is_asleep = {
            let mut state = self.state();
            state.woken.push(place);
            !std::mem::replace(&mut state.awake, true)
        };
        if is_asleep {
            self.task.wake_by_ref();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What wakes whichever stream is in a place.
#[derive(Debug)]
pub(super) struct Mark {
    ready: Arc<Ready>,
    place: usize,
    queued: AtomicBool,
}

impl Mark {
    pub(super) fn new(ready: &Arc<Ready>, place: usize) -> Arc<Self> {
        Arc::new(Self { ready: ready.clone(), place, queued: AtomicBool::new(false) })
    }

    /// Takes the place off the list; to be called before its stream is polled.
    pub(super) fn clear(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.ready.wake(self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(Mutex<usize>);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() += 1;
        }
    }

    #[test]
    fn a_task_is_woken_once_and_not_while_it_looks() {
        let count = Arc::new(Count(Mutex::new(0)));
        let ready = Ready::new(count.clone().into());
        let marks: Vec<_> = (0..3).map(|place| Mark::new(&ready, place)).collect();
        let wakers: Vec<Waker> = marks.iter().map(|mark| mark.clone().into()).collect();
        for place in [2, 0, 2] {
            wakers[place].wake_by_ref();
        }
        assert_eq!(*count.0.lock().unwrap(), 1);

        ready.begin();
        let mut list = Vec::new();
        ready.take(&mut list);
        assert_eq!(list, [2, 0]);
        list.iter().for_each(|place| marks[*place].clear());
        wakers[2].wake_by_ref();
        assert!(!ready.rest(), "somebody was woken");
        assert_eq!(*count.0.lock().unwrap(), 1);
        ready.take(&mut list);
        assert!(ready.rest());
        wakers[1].wake_by_ref();
        assert_eq!(*count.0.lock().unwrap(), 2);
    }
}
