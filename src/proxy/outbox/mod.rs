//! What a core sends goes out at the end of a turn of its event loop.
//!
//! A send does the receiving of a local peer, too, and touches the queues that the peer works with. Between
//! the work of other requests each send finds neither kernel code nor those queues in the cache, and
//! peers take requests one at a time. So small writes are held until everything that the turn has
//! brought was worked on, and then go out one behind the other.
//!
//! Invariants:
//! - a core never waits for events while something is held that could be sent;
//! - what is held is sent in order, before anything that is written later, and though its owner has gone,
//!   as long as the peer takes some of it now and then;
//! - at most [`HELD_MAX`] bytes are held of a socket: who writes more waits, as for any other.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::shelf::Shelf;

/// Writes up to this length are held; longer ones are not worth copying, in bytes.
const SMALL_MAX: usize = 4 * 1024;

/// Most that is held of one socket, in bytes.
const HELD_MAX: usize = 16 * 1024;

thread_local! {
    static OUTBOX: RefCell<Option<Rc<Queue>>> = const { RefCell::new(None) };
}

/// The outbox of a thread while it serves: sockets made on it meanwhile use it, others write at once.
pub(in crate::proxy) struct Outbox(Rc<Queue>);

impl Outbox {
    /// Opens the outbox of this thread, within its `LocalSet`. A peer that takes nothing for `patience`
    /// is given up once the owner of its socket has gone.
    pub(in crate::proxy) fn open(patience: Duration) -> Self {
        let queue = Rc::new(Queue { patience, ..Queue::default() });
        OUTBOX.set(Some(queue.clone()));
        tokio::task::spawn_local(send_each_turn(queue.clone()));
        Self(queue)
    }

    /// Sends all that is held, for as long as that takes.
    pub(in crate::proxy) async fn emptied(&self) {
        self.0.send_turn();
        while self.0.blocked.get() > 0 {
            self.0.unblocked.notified().await;
        }
    }
}

impl Drop for Outbox {
    /// Sends what the last turn has left.
    fn drop(&mut self) {
        OUTBOX.set(None);
        self.0.send(drop);
    }
}

/// Sends at the end of each turn in which something was written.
async fn send_each_turn(queue: Rc<Queue>) {
    let turn = |cx: &mut Context<'_>| {
        // Who writes first in a turn wakes this task: it runs behind all that were woken before.
        let waker = queue.waker.take().filter(|waker| waker.will_wake(cx.waker()));
        queue.waker.replace(Some(waker.unwrap_or_else(|| cx.waker().clone())));
        queue.send_turn();
        Poll::<()>::Pending
    };
    poll_fn(turn).await;
}

/// Sends what a peer did not take at once. Whoever owns the socket has patience of its own; without an
/// owner, nobody else would ever close it.
async fn send_blocked(socket: Rc<RefCell<Held>>, queue: Rc<Queue>) {
    loop {
        let gone = socket.borrow().gone;
        let sending = poll_fn(|cx| socket.borrow_mut().poll_send(cx, &queue));
        let is_sent = timeout(queue.patience, sending).await.is_ok();
        if is_sent || (Rc::strong_count(&socket) == 1 && socket.borrow().gone == gone) {
            break;
        }
    }
    queue.blocked.set(queue.blocked.get() - 1);
    queue.unblocked.notify_one();
}

/// The sockets of a core that hold something.
#[derive(Default)]
struct Queue {
    sockets: RefCell<Vec<Rc<RefCell<Held>>>>,
    waker: RefCell<Option<Waker>>,
    buffers: Shelf,
    /// How long a peer may take nothing of what is held by a socket without an owner.
    patience: Duration,
    /// How many sockets wait for their peers to take more.
    blocked: Cell<usize>,
    unblocked: Notify,
}

impl Queue {
    /// Takes note of a socket that begins to hold something.
    fn push(&self, socket: Rc<RefCell<Held>>) {
        let mut sockets = self.sockets.borrow_mut();
        if sockets.is_empty()
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
        sockets.push(socket);
    }

    /// Sends what the turn has brought.
    fn send_turn(self: &Rc<Self>) {
        self.send(|socket| {
            self.blocked.set(self.blocked.get() + 1);
            tokio::task::spawn_local(send_blocked(socket, self.clone()));
        });
    }

    /// Sends what is held; a socket that does not take all of it is handed on.
    fn send(&self, mut hand_on: impl FnMut(Rc<RefCell<Held>>)) {
        let mut sockets = self.sockets.take();
        for socket in sockets.drain(..) {
            let is_sent = socket.borrow_mut().send(self);
            match is_sent {
                true => socket.borrow_mut().is_queued = false,
                false => hand_on(socket),
            }
        }
        // Nothing was written meanwhile: only tasks write, and none has run.
        self.sockets.replace(sockets);
    }
}

/// A socket and what is held for it.
struct Held {
    tcp: TcpStream,
    bytes: Vec<u8>,
    sent: usize,
    /// Whether the queue has it, or the task that sends what the queue could not.
    is_queued: bool,
    /// Why what was held could not be sent; the next who writes is told.
    failure: Option<io::Error>,
    /// How many bytes have gone since the beginning.
    gone: u64,
    /// Who waits until nothing is held.
    waiting: Option<Waker>,
}

impl Held {
    /// Sends what is held; tells whether nothing is left.
    fn send(&mut self, queue: &Queue) -> bool {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let error = match self.tcp.try_write(rest) {
                Ok(length) if length > 0 => {
                    self.sent += length;
                    self.gone += length as u64;
                    continue;
                }
                Ok(_) => io::ErrorKind::WriteZero.into(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.failure = Some(error);
            break;
        }
        if self.bytes.capacity() > 0 {
            queue.buffers.give(std::mem::take(&mut self.bytes));
        }
        self.sent = 0;
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        true
    }

    /// Sends what is held, for as long as that takes.
    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &Queue) -> Poll<()> {
        while !self.send(queue) {
            // An error is met by the next attempt, too.
            let _is_writable = ready!(self.tcp.poll_write_ready(cx));
        }
        self.is_queued = false;
        Poll::Ready(())
    }

    /// Returns ready once nothing is held: what is written then is in order.
    fn poll_nothing(&mut self, cx: &mut Context<'_>, queue: &Queue) -> Poll<io::Result<()>> {
        if !self.bytes.is_empty() && !self.send(queue) {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.failure.take().map_or(Ok(()), Err))
    }
}

/// A TCP stream whose small writes go out with the core's others.
pub(in crate::proxy) struct Socket {
    held: Rc<RefCell<Held>>,
    queue: Option<Rc<Queue>>,
}

impl Socket {
    /// Wraps a stream; its writes are held if this thread has an outbox.
    pub(in crate::proxy) fn new(tcp: TcpStream) -> Self {
        let held = Held {
            tcp,
            bytes: Vec::new(),
            sent: 0,
            is_queued: false,
            failure: None,
            gone: 0,
            waiting: None,
        };
        let queue = OUTBOX.with_borrow(Clone::clone);
        Self { held: Rc::new(RefCell::new(held)), queue }
    }

    /// Reads if there is something to read, as the runtime knows; costs no system call if not.
    pub(in crate::proxy) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.held.borrow().tcp.try_read(buffer)
    }

    /// Returns how many bytes have gone since the beginning.
    pub(in crate::proxy) fn gone(&self) -> u64 {
        self.held.borrow().gone
    }

    /// Throws away what is held: it is never sent.
    pub(in crate::proxy) fn discard(&self) {
        let mut held = self.held.borrow_mut();
        held.bytes.clear();
        held.sent = 0;
    }

    /// Holds a small write; tells whether it did.
    fn hold(&self, slices: &[IoSlice<'_>], length: usize) -> io::Result<bool> {
        let mut held = self.held.borrow_mut();
        if let Some(failure) = held.failure.take() {
            return Err(failure);
        }
        let Some(queue) = &self.queue else { return Ok(false) };
        if length > SMALL_MAX || held.bytes.len() + length > HELD_MAX {
            return Ok(false);
        }
        if held.bytes.capacity() == 0 {
            held.bytes = queue.buffers.take();
        }
        for slice in slices {
            held.bytes.extend_from_slice(slice);
        }
        if !held.is_queued {
            held.is_queued = true;
            queue.push(self.held.clone());
        }
        Ok(true)
    }

    fn poll_nothing(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.queue {
            Some(queue) => self.held.borrow_mut().poll_nothing(cx, queue),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held.borrow();
        let left = held.bytes.len() - held.sent;
        out.debug_struct("Socket").field("tcp", &held.tcp).field("held", &left).finish()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.held.borrow_mut().tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.hold(&[IoSlice::new(bytes)], bytes.len())? {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_nothing(cx))?;
        let mut held = self.held.borrow_mut();
        let length = ready!(Pin::new(&mut held.tcp).poll_write(cx, bytes))?;
        held.gone += length as u64;
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.hold(slices, length)? {
            return Poll::Ready(Ok(length));
        }
        ready!(self.poll_nothing(cx))?;
        let mut held = self.held.borrow_mut();
        let length = ready!(Pin::new(&mut held.tcp).poll_write_vectored(cx, slices))?;
        held.gone += length as u64;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready at once: what is held goes out by itself.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_nothing(cx))?;
        Pin::new(&mut self.held.borrow_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
