//! A connection: one task that reads, polls the woken streams, and writes what all of them have to
//! say in as few writes as there are turns.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::task::coop;

use super::frame::Code;
use super::incoming::Incoming;
use super::link::{Farewell, Link};
use super::receive::Block;
use super::streams::Streams;
use crate::proxy::listener::connection::ConnectionInfo;
use crate::proxy::listener::request::ClientRequest;
use crate::proxy::listener::response::ClientResponse;
use crate::proxy::listener::serve::Core;
use crate::proxy::listener::stream::ClientStream;
use crate::proxy::upstream::timer::LazyTimer;

/// How often is read before streams are polled, so that none waits for a client that never stops.
const READS_MAX: usize = 4;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing can be sent any more.
    Gone,
    /// All was said; the client may still be sending.
    Said,
}

/// One client connection of HTTP/2. Without its stream, it is bytes in and bytes out.
pub(super) struct Connection<H, F> {
    pub(super) core: Rc<Core>,
    pub(super) info: Rc<ConnectionInfo>,
    pub(super) handler: Rc<H>,
    pub(super) link: Link,
    pub(super) streams: Streams<F>,
    pub(super) block: Option<Block>,
    pub(super) incoming: Incoming,
    /// The stream whose body is being read, and whether that ends it; 0 when it is skipped.
    pub(super) body_of: (u32, bool),
    /// Whether the client's settings have come.
    pub(super) is_greeted: bool,
    silence: LazyTimer,
    stall: LazyTimer,
}

impl<H, F> Connection<H, F>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    pub(super) fn new(
        core: Rc<Core>,
        info: Rc<ConnectionInfo>,
        handler: Rc<H>,
        task: Waker,
    ) -> Self {
        Self {
            link: Link::new(&core),
            core,
            info,
            handler,
            streams: Streams::new(task),
            block: None,
            incoming: Incoming::default(),
            body_of: (0, false),
            is_greeted: false,
            silence: LazyTimer::default(),
            stall: LazyTimer::default(),
        }
    }

    /// Serves the connection to its end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut ClientStream) -> Poll<End> {
        self.streams.ready.begin();
        loop {
            if self.link.out.capacity() == 0 {
                self.link.out = self.core.buffers.take();
            }
            self.follow_drain();
            let Ok(is_read) = self.poll_read(cx, stream) else { return Poll::Ready(End::Gone) };
            self.turn();
            let is_written = match self.poll_write(cx, stream) {
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if is_written && let Some(end) = self.end() {
                return Poll::Ready(end);
            }
            // What could not be written wakes this task when it can be; until then, if there is much
            // of it, no stream is polled.
            let rests = self.streams.ready.rest() && !self.streams.has_woken();
            if is_read && (rests || self.link.is_full()) {
                break;
            }
            if !coop::has_budget_remaining() {
                cx.waker().wake_by_ref();
                break;
            }
            self.streams.ready.begin();
        }
        self.poll_timers(cx)
    }

    /// Reads what there is; false when there may be more. Who does not read our answers is read all the
    /// same, as it may be sending a body first, but not who asks for more and more of them.
    fn poll_read(&mut self, cx: &mut Context<'_>, stream: &mut ClientStream) -> io::Result<bool> {
        let core = self.core.clone();
        for _ in 0..READS_MAX {
            if self.link.is_flooded() || self.link.farewell == Farewell::Fault {
                return Ok(true);
            }
            let mut scratch = core.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Poll::Ready(Ok(())) => self.receive(buffer.filled()),
            }
        }
        Ok(false)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut ClientStream,
    ) -> Poll<io::Result<()>> {
        let written = self.poll_write_all(cx, stream);
        if written.is_pending() {
            self.link.compact();
            return Poll::Pending;
        }
        self.link.written = 0;
        // An idle connection holds no buffer.
        self.core.buffers.give(std::mem::take(&mut self.link.out));
        written
    }

    fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut ClientStream,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.link.out.get(self.link.written..).filter(|it| !it.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.link.written += length,
            }
            self.link.is_unflushed = true;
        }
        if self.link.is_unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.link.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn follow_drain(&mut self) {
        if self.core.drain.is_draining() {
            self.link.announce_end();
        }
        if self.core.drain.is_closing() && self.streams.count() == 0 {
            self.link.end();
        }
    }

    /// Returns how the connection ended, if all is written and nothing is under way.
    fn end(&mut self) -> Option<End> {
        if self.link.farewell == Farewell::Fault {
            return Some(End::Said);
        }
        if self.streams.count() > 0 {
            return None;
        }
        self.streams.shrink();
        let is_last = matches!(self.link.farewell, Farewell::Final(_)) || self.link.client_leaves;
        is_last.then_some(End::Said)
    }

    /// Bounds how long a client may be silent, and how long it may take nothing of its answers.
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if std::mem::take(&mut self.link.has_moved) {
            self.silence.clear();
        }
        if self.silence.poll(cx, self.core.limits.header_timeout).is_ready() {
            self.silence.clear();
            if self.link.is_asked || self.incoming.is_within() || self.block.is_some() {
                return Poll::Ready(End::Gone);
            }
            match self.streams.count() {
                0 => self.link.end(),
                _ => self.link.ask(),
            }
            cx.waker().wake_by_ref();
        }
        if std::mem::take(&mut self.link.has_sent) {
            self.stall.clear();
        }
        if self.streams.blocked == 0 {
            self.stall.clear();
        } else if self.stall.poll(cx, self.core.limits.send_timeout).is_ready() {
            self.stall.clear();
            for id in self.streams.blocked_ids() {
                self.reset(id, Code::Cancel);
            }
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
