//! One client connection of HTTP/1: its stream, what was read ahead, and what is left of a body.

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio::sync::oneshot;

use super::head::{self, Head, Refusal};
use crate::proxy::chunk::{ChunkDecoder, Piece};
use crate::proxy::listener::request::{ClientBodyError, UpgradedClient};
use crate::proxy::listener::serve::Core;
use crate::proxy::listener::stream::ClientStream;
use crate::proxy::upstream::timer::LazyTimer;

/// Room for one receive of a body, in bytes: the most, and what a client gets to begin with, so that
/// slow ones hold little. It doubles with each receive that fills it.
const READ_MAX: usize = 64 * 1024;
const READ_MIN: usize = 4 * 1024;

/// Bodies of at most this many bytes that nobody read are thrown away, so that the connection can
/// be used again.
const DISCARD_MAX: u64 = 64 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What of the current request's body has not been read.
#[derive(Debug)]
pub(super) enum Remaining {
    None,
    Length(u64),
    Chunked(ChunkDecoder),
    /// The connection is out of step: it can only be closed.
    Broken,
}

/// A connection. The loop that serves it and the body of the current request share it; both are
/// polled by one task, one after the other.
pub(in crate::proxy::listener) struct Wire {
    core: Rc<Core>,
    pub(super) stream: ClientStream,
    /// What was read and not used. Holds no memory while the connection is idle.
    pub(super) input: BytesMut,
    pub(super) remaining: Remaining,
    /// What is left to send of the interim answer that lets a client send its body.
    unasked: &'static [u8],
    /// Up to where `input` was searched for the end of a head.
    scanned: usize,
    /// Room for the next receive of a body, in bytes.
    room: usize,
    timer: LazyTimer,
    /// Who waits for the connection after a protocol switch.
    pub(in crate::proxy::listener) upgrade: Option<oneshot::Sender<UpgradedClient>>,
}

impl Wire {
    pub(super) fn new(core: Rc<Core>, stream: ClientStream, input: BytesMut) -> Self {
        Self {
            core,
            stream,
            input,
            remaining: Remaining::None,
            unasked: b"",
            scanned: 0,
            room: READ_MIN,
            timer: LazyTimer::default(),
            upgrade: None,
        }
    }

    /// Waits for the head of the next request; none when the connection is over.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Head>, Refusal>> {
        loop {
            if let Some(head) = self.take_head()? {
                self.timer.clear();
                self.scanned = 0;
                self.unasked = if head.expects_continue { CONTINUE } else { b"" };
                return Poll::Ready(Ok(Some(head)));
            }
            if self.core.drain.is_closing() && self.input.is_empty() {
                return Poll::Ready(Ok(None));
            }
            let idle = self.input.is_empty();
            match self.poll_receive(cx) {
                Poll::Ready(Ok(0) | Err(_)) if idle => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Refusal::Gone)),
                // How long the connection was idle does not shorten the time for a head.
                Poll::Ready(Ok(_)) if idle => self.timer.clear(),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    ready!(self.timer.poll(cx, self.core.limits.header_timeout));
                    let begun = !self.input.is_empty();
                    return Poll::Ready(if begun { Err(Refusal::Late) } else { Ok(None) });
                }
            }
        }
    }

    /// Parses a head out of what was read. A head that comes in pieces is parsed again only when its
    /// end may be there, so that dribbling costs the client more than us.
    fn take_head(&mut self) -> Result<Option<Head>, Refusal> {
        let length = self.input.len();
        if length == 0 || length == self.scanned {
            return Ok(None);
        }
        let max = self.core.limits.head_bytes_max.max(8192);
        let ended = self.scanned == 0 || head::may_end(&self.input, self.scanned);
        self.scanned = length;
        if ended && let Some(head) = head::take(&mut self.input, max)? {
            return Ok(Some(head));
        }
        if length >= max {
            let line = self.input.contains(&b'\n');
            return Err(if line { Refusal::HeadTooLong } else { Refusal::LineTooLong });
        }
        Ok(None)
    }

    /// Reads what there is into `input`, by way of the core's buffer: an idle connection has none.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = self.core.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let received = buffer.filled();
        match self.input.is_empty() {
            true => self.input = self.core.received.borrow_mut().keep(received),
            false => self.input.extend_from_slice(received),
        }
        Poll::Ready(Ok(received.len()))
    }

    /// Ready when the client has gone. What it sends ahead is kept, one receive of it.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.input.is_empty() && matches!(self.remaining, Remaining::None) {
            if let Ok(0) | Err(_) = ready!(self.poll_receive(cx)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Reads the next frame of the body.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        loop {
            match self.next_frame() {
                Ok(Some(Next::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Some(Next::End(trailers))) => {
                    let frame = (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)));
                    return Poll::Ready(frame);
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(self.break_off(error)))),
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(())) => self.timer.clear(),
                Poll::Ready(Err(error)) => {
                    let error = self.break_off(ClientBodyError::Gone(error));
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending => {
                    let limit = self.core.limits.body_timeout;
                    ready!(self.timer.poll(cx, limit));
                    let error = ClientBodyError::Silent(limit);
                    return Poll::Ready(Some(Err(self.break_off(error))));
                }
            }
        }
    }

    /// Takes a frame from what was read; none when more must be read.
    fn next_frame(&mut self) -> Result<Option<Next>, ClientBodyError> {
        let next = match &mut self.remaining {
            Remaining::None => Next::End(HeaderMap::new()),
            Remaining::Broken => return Err(ClientBodyError::Broken),
            Remaining::Length(_) if self.input.is_empty() => return Ok(None),
            Remaining::Length(left) => {
                let all = self.input.len();
                let length = usize::try_from(*left).map_or(all, |left| left.min(all));
                *left -= length as u64;
                if *left == 0 {
                    self.remaining = Remaining::None;
                }
                Next::Data(self.input.split_to(length).freeze())
            }
            Remaining::Chunked(decoder) => match decoder.decode(&mut self.input) {
                Ok(Piece::Data(data)) => Next::Data(data),
                Ok(Piece::More) => return Ok(None),
                Ok(Piece::End(trailers)) => {
                    self.remaining = Remaining::None;
                    Next::End(trailers)
                }
                Err(error) => return Err(ClientBodyError::Malformed(Box::new(error))),
            },
        };
        Ok(Some(next))
    }

    /// Reads more of the body; a client that waits to be asked for it is asked first.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unasked.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, self.unasked))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unasked = self.unasked.get(sent..).unwrap_or_default();
            if self.unasked.is_empty() {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            }
        }
        if self.input.capacity() - self.input.len() < 1024 {
            let left = match self.remaining {
                Remaining::Length(left) => usize::try_from(left).unwrap_or(READ_MAX),
                _ => READ_MAX,
            };
            self.input.reserve(left.clamp(1024, self.room.clamp(READ_MIN, READ_MAX)));
        }
        let room = self.input.capacity() - self.input.len();
        let read = pin!(self.stream.read_buf(&mut self.input));
        match ready!(std::future::Future::poll(read, cx))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            length => {
                self.room = if length < room { READ_MIN } else { room.saturating_mul(2) };
                Poll::Ready(Ok(()))
            }
        }
    }

    fn break_off(&mut self, error: ClientBodyError) -> ClientBodyError {
        self.remaining = Remaining::Broken;
        error
    }

    /// Tells that the answer begins: from now on the body is not asked for. Returns whether what is
    /// left of it is little enough to be thrown away.
    pub(super) fn begin_answer(&mut self) -> bool {
        let asked = self.unasked.is_empty();
        let little = match self.remaining {
            Remaining::None => true,
            Remaining::Length(left) => asked && left <= DISCARD_MAX,
            Remaining::Chunked(_) | Remaining::Broken => false,
        };
        if !little {
            self.remaining = Remaining::Broken;
        }
        self.unasked = b"";
        little
    }

    /// Throws away what is left of the body; the flag says whether the connection is in step then.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while !matches!(self.remaining, Remaining::None) {
            if let Some(Err(_)) = ready!(self.poll_body(cx)) {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    }

    /// Throws away whatever comes, until the client closes or has sent `left` bytes more.
    pub(super) fn poll_linger(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        loop {
            self.input.clear();
            match ready!(self.poll_receive(cx)) {
                Ok(length) if length > 0 && length < *left => *left -= length,
                _ => return Poll::Ready(()),
            }
        }
    }
}

enum Next {
    Data(Bytes),
    End(HeaderMap),
}
