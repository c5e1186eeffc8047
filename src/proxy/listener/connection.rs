//! What a handler may know of the connection that a request came on.

use std::net::SocketAddr;
use std::rc::Rc;

use super::serve::Core;

/// Facts of one client connection.
///
/// The connection counts as open while this lives: a task that outlives the exchange, such as a
/// WebSocket's, keeps it, and the drain then waits for that task.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The client's end of the socket.
    pub peer: SocketAddr,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// The server name that the client asked for in its TLS handshake.
    pub sni: Option<String>,
    /// Whether the client speaks TLS.
    pub https: bool,
    /// Index of the core, and so of its thread.
    pub core: usize,
    owner: Rc<Core>,
}

impl ConnectionInfo {
    pub(super) fn open(peer: SocketAddr, local: SocketAddr, owner: Rc<Core>) -> Self {
        owner.counters.active.add();
        Self { peer, local, sni: None, https: false, core: owner.index, owner }
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
