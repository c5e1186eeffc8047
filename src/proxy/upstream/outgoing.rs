//! The bytes of a request that are ready to leave: head, one frame of the body, chunk marks.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite as _;

use super::head::push_last_chunk;
use super::stream::Stream;

/// At most one body frame between its marks, so that head and first frame leave in one write and
/// a frame is never copied.
#[derive(Debug, Default)]
pub(super) struct Outgoing<'a> {
    head: &'a [u8],
    before: Vec<u8>,
    written: usize,
    frame: Bytes,
    after: &'static [u8],
    unflushed: bool,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(head: &'a [u8]) -> Self {
        Self { head, ..Self::default() }
    }

    /// Returns whether everything has been handed to the stream.
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.written == self.before.len() && self.takes_frame()
    }

    /// Returns whether a further frame may be pushed.
    pub(super) fn takes_frame(&self) -> bool {
        self.frame.is_empty() && self.after.is_empty()
    }

    /// Adds a frame of a body whose length was announced.
    pub(super) fn push_plain(&mut self, frame: Bytes) {
        self.frame = frame;
    }

    /// Adds a frame as one chunk.
    pub(super) fn push_chunk(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        self.forget_written();
        let wrote = write!(self.before, "{:x}\r\n", frame.len());
        debug_assert!(wrote.is_ok(), "writing to memory cannot fail");
        self.frame = frame;
        self.after = b"\r\n";
    }

    /// Adds the last chunk.
    pub(super) fn push_end(&mut self, trailers: Option<&HeaderMap>) {
        self.forget_written();
        push_last_chunk(&mut self.before, trailers);
    }

    /// Writes as much as the stream takes; ready with how many bytes it took in all once nothing
    /// is left.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        progress: &mut bool,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let before = self.before.get(self.written..).unwrap_or_default();
            let mut pinned = Pin::new(&mut *stream);
            let length = if before.is_empty() && self.frame.is_empty() && self.after.is_empty() {
                ready!(pinned.poll_write(cx, self.head))?
            } else {
                let slices = [self.head, before, &self.frame, self.after].map(IoSlice::new);
                ready!(pinned.as_mut().poll_write_vectored(cx, &slices))?
            };
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *progress = true;
            self.unflushed = stream.needs_flush();
            self.advance(length);
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, length: usize) {
        let of_head = length.min(self.head.len());
        self.head = self.head.get(of_head..).unwrap_or_default();
        let length = length - of_head;
        let of_before = length.min(self.before.len() - self.written);
        self.written += of_before;
        let of_frame = (length - of_before).min(self.frame.len());
        self.frame.advance(of_frame);
        let of_after = (length - of_before - of_frame).min(self.after.len());
        self.after = self.after.get(of_after..).unwrap_or_default();
    }

    fn forget_written(&mut self) {
        if self.written == self.before.len() {
            self.before.clear();
            self.written = 0;
        }
    }
}
