//! What a handler may know of the connection that a request came on.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::serve::Core;
use crate::plugins::exchange::Connection;
use crate::proxy::upstream::TimerSlot;

/// Facts of one client connection.
///
/// The connection counts as open while this lives: a task that outlives the exchange, such as a
/// WebSocket's, keeps it, and the drain then waits for that task.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// What plugins may know of it.
    pub connection: Rc<Connection>,
    /// By which its requests wait for upstreams.
    pub timer: TimerSlot,
    requests: Cell<u64>,
    /// Index of the core, and so of its thread.
    pub core: usize,
    owner: Rc<Core>,
}

impl ConnectionInfo {
    pub(super) fn open(peer: SocketAddr, local: SocketAddr, owner: Rc<Core>) -> Self {
        owner.counters.active.add();
        let connection = Rc::new(Connection::plain(owner.counters.accepted.value(), peer, local));
        let (timer, requests) = (TimerSlot::default(), Cell::new(0));
        Self { connection, timer, requests, core: owner.index, owner }
    }

    /// Counts a request and returns how many there were, this one included.
    pub fn count_request(&self) -> u64 {
        self.requests.set(self.requests.get().wrapping_add(1));
        self.requests.get()
    }
}

impl Drop for ConnectionInfo {
    fn drop(&mut self) {
        self.owner.counters.active.subtract();
        if self.owner.counters.active.value() == 0 {
            self.owner.drain.emptied.notify_one();
        }
    }
}
