//! Two streams joined: the two halves of a WebSocket, or a TCP client and its upstream.
//!
//! What is read goes through one buffer that all of a core share, and into one of its own only when
//! the other side does not take it at once: a joined pair that is silent holds no buffer.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::timer::LazyTimer;

/// Room for one receive, in bytes: the longest datagram fits.
const SCRATCH: usize = 64 * 1024;

/// Most buffers that are kept for the next stream that stalls.
const KEPT_MAX: usize = 64;

/// The buffers of one core; clones share them.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Buffers(Rc<RefCell<Shelf>>);

#[derive(Debug)]
struct Shelf {
    scratch: Box<[u8]>,
    kept: Vec<Vec<u8>>,
}

impl Default for Buffers {
    fn default() -> Self {
        let scratch = vec![0; SCRATCH].into_boxed_slice();
        Self(Rc::new(RefCell::new(Shelf { scratch, kept: Vec::new() })))
    }
}

impl Buffers {
    /// Lends the shared buffer for as long as nothing is awaited.
    pub(in crate::proxy) fn scratch<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        work(&mut self.0.borrow_mut().scratch)
    }
}

impl Shelf {
    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.kept.len() < KEPT_MAX && buffer.capacity() > 0 {
            buffer.clear();
            self.kept.push(buffer);
        }
    }
}

/// How many bytes went either way so far.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Moved {
    /// From the client to the upstream.
    pub(in crate::proxy) inward: Cell<u64>,
    /// From the upstream to the client.
    pub(in crate::proxy) outward: Cell<u64>,
}

/// Copies both ways until both sides have ended, one breaks, or nothing moves for `idle`. One side
/// may end before the other: what the other still says is delivered.
pub(in crate::proxy) async fn splice<C, U>(
    mut client: C,
    mut upstream: U,
    idle: Duration,
    buffers: &Buffers,
    moved: &Moved,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut inward = Flow::new(buffers, &moved.inward);
    let mut outward = Flow::new(buffers, &moved.outward);
    let mut timer = LazyTimer::default();
    std::future::poll_fn(|cx| {
        let before = moved.inward.get() + moved.outward.get();
        let inward_end = inward.poll(cx, &mut client, &mut upstream)?;
        let outward_end = outward.poll(cx, &mut upstream, &mut client)?;
        if inward_end.is_ready() && outward_end.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if moved.inward.get() + moved.outward.get() != before {
            timer.clear();
        }
        ready!(timer.poll(cx, idle));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// One direction.
struct Flow<'a> {
    buffers: &'a Buffers,
    moved: &'a Cell<u64>,
    /// What was read and not taken, from `written` on.
    rest: Vec<u8>,
    written: usize,
    ended: bool,
    unflushed: bool,
    shut: bool,
}

impl<'a> Flow<'a> {
    fn new(buffers: &'a Buffers, moved: &'a Cell<u64>) -> Self {
        let (rest, written) = (Vec::new(), 0);
        Self { buffers, moved, rest, written, ended: false, unflushed: false, shut: false }
    }

    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_rest(cx, to))?;
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            if self.poll_pass(cx, from, to)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    /// Writes what was not taken before.
    fn poll_rest<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.rest.get(self.written..).filter(|rest| !rest.is_empty()) {
            let length = ready!(poll_write(cx, to, rest))?;
            self.written += length;
            self.note(length);
        }
        if self.written > 0 {
            self.buffers.0.borrow_mut().give(std::mem::take(&mut self.rest));
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes what is taken of it; pending when there is nothing to read.
    fn poll_pass<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let shelf = &mut *self.buffers.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut shelf.scratch);
        match ready!(Pin::new(from).poll_read(cx, &mut buffer)) {
            // Many peers end TLS without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => buffer.clear(),
            other => other?,
        }
        let mut read: &[u8] = buffer.filled();
        self.ended = read.is_empty();
        while !read.is_empty() {
            match poll_write(cx, to, read) {
                Poll::Ready(length) => {
                    let length = length?;
                    read = read.get(length..).unwrap_or_default();
                    self.note(length);
                }
                Poll::Pending => {
                    self.rest = shelf.kept.pop().unwrap_or_default();
                    self.rest.extend_from_slice(read);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn note(&mut self, length: usize) {
        self.moved.set(self.moved.get() + length as u64);
        self.unflushed = true;
    }
}

fn poll_write<W: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    to: &mut W,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        length => Poll::Ready(Ok(length)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn both_ways_are_copied_until_both_end() {
        let (mut client, client_far) = duplex(64);
        let (mut upstream, upstream_far) = duplex(64);
        let (buffers, moved) = (Buffers::default(), Moved::default());
        let idle = Duration::from_secs(5);
        let joined = splice(client_far, upstream_far, idle, &buffers, &moved);
        let talk = async {
            client.write_all(b"ping").await.unwrap();
            let mut got = [0; 4];
            upstream.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"ping");
            upstream.write_all(b"pong!").await.unwrap();
            drop(upstream);
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"pong!");
            drop(client);
        };
        let (joined, ()) = tokio::join!(joined, talk);
        joined.unwrap();
        assert_eq!((moved.inward.get(), moved.outward.get()), (4, 5));
    }

    #[tokio::test]
    async fn a_half_that_ended_still_hears_the_other() {
        let (mut client, client_far) = duplex(64);
        let (mut upstream, upstream_far) = duplex(64);
        let (buffers, moved) = (Buffers::default(), Moved::default());
        let idle = Duration::from_secs(5);
        let joined = splice(client_far, upstream_far, idle, &buffers, &moved);
        // More than the pipes hold, so that each side has to wait for the other.
        let long: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
        let talk = async {
            let question = async {
                client.write_all(&long).await.unwrap();
                client.shutdown().await.unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).await.unwrap();
                answer
            };
            let answer = async {
                let mut heard = Vec::new();
                upstream.read_to_end(&mut heard).await.unwrap();
                upstream.write_all(&heard).await.unwrap();
                upstream.shutdown().await.unwrap();
            };
            tokio::join!(question, answer).0
        };
        let (joined, answer) = tokio::join!(joined, talk);
        joined.unwrap();
        assert!(answer == long);
        assert_eq!((moved.inward.get(), moved.outward.get()), (200_000, 200_000));
    }

    #[tokio::test]
    async fn silence_ends_the_splice() {
        let (_client, client_far) = duplex(64);
        let (_upstream, upstream_far) = duplex(64);
        let (buffers, moved) = (Buffers::default(), Moved::default());
        let idle = Duration::from_millis(20);
        let joined = splice(client_far, upstream_far, idle, &buffers, &moved).await;
        assert_eq!(joined.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
