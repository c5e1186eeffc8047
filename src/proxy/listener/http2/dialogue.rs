//! What a connection of HTTP/2 makes of bytes, without a connection: tests and fuzz targets talk to
//! it.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::task::Waker;

use tokio::runtime::{Builder, Runtime};

use super::connection::Connection;
use super::link::Farewell;
use crate::proxy::listener::connection::ConnectionInfo;
use crate::proxy::listener::request::ClientRequest;
use crate::proxy::listener::response::ClientResponse;
use crate::proxy::listener::serve::{Core, ServeLimits};

/// A connection whose bytes are given to it.
pub struct Dialogue<H, F> {
    connection: Connection<H, F>,
    /// For the timers of bodies, which never fire here.
    runtime: Runtime,
}

impl<H, F> Dialogue<H, F>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    /// Opens a connection.
    pub fn new(limits: ServeLimits, handler: H) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let core = Rc::new(Core::new(0, limits, <_>::default(), <_>::default()));
        let nowhere = ([0, 0, 0, 0], 0).into();
        let info = Rc::new(ConnectionInfo::open(nowhere, nowhere, core.clone()));
        let task = Waker::noop().clone();
        Ok(Self { connection: Connection::new(core, info, Rc::new(handler), task), runtime })
    }

    /// Gives it bytes and returns what it says until it waits for more of them.
    pub fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        let _entered = self.runtime.enter();
        let connection = &mut self.connection;
        let mut said = Vec::new();
        if connection.link.farewell != Farewell::Fault {
            connection.receive(bytes);
        }
        loop {
            connection.streams.ready.begin();
            connection.turn();
            said.append(&mut connection.link.out);
            if connection.streams.ready.rest() && !connection.streams.has_woken() {
                return said;
            }
        }
    }

    /// Returns whether it has ended by a fault of the other side.
    pub fn has_failed(&self) -> bool {
        self.connection.link.farewell == Farewell::Fault
    }

    /// Returns how many streams are open.
    pub fn streams(&self) -> usize {
        self.connection.streams.count()
    }
}
