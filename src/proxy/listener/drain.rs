//! The order to stop, as a core's connections see it: flags and their wakers, so that a connection
//! that is polled pays one comparison for it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::{Context, Waker};

/// The connections of one core that must hear of the drain.
#[derive(Debug, Default)]
pub(super) struct Drain {
    draining: Cell<bool>,
    closing: Cell<bool>,
    next: Cell<u64>,
    wakers: RefCell<HashMap<u64, Waker>>,
    /// Told when the last connection has ended.
    pub(super) emptied: tokio::sync::Notify,
}

impl Drain {
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Returns an identity to [`Self::watch`] with.
    pub(super) fn enter(&self) -> u64 {
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        id
    }

    /// Remembers whom to wake; a task's waker stays the same, so once is enough.
    pub(super) fn watch(&self, id: u64, cx: &Context<'_>) {
        self.wakers.borrow_mut().insert(id, cx.waker().clone());
    }

    pub(super) fn leave(&self, id: u64) {
        self.wakers.borrow_mut().remove(&id);
    }

    /// Tells every connection to finish. One of HTTP/1 that is idle stays for one more request, since
    /// that may be on its way.
    pub(super) fn begin(&self) {
        self.draining.set(true);
        self.wake();
    }

    /// Tells idle connections to close.
    pub(super) fn close_idle(&self) {
        self.closing.set(true);
        self.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    fn wake(&self) {
        for waker in self.wakers.borrow().values() {
            waker.wake_by_ref();
        }
    }
}
