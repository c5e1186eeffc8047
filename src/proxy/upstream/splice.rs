//! Two streams joined after a protocol switch, such as the two halves of a WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::UpgradedStream;
use super::timer::LazyTimer;

/// Copies both ways until both sides have ended, one breaks, or nothing moves for `idle`.
/// Returns the bytes (from the client, from the upstream).
pub(in crate::proxy) async fn splice<C>(
    client: C,
    upstream: UpgradedStream,
    idle: Duration,
) -> io::Result<(u64, u64)>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    join(client, upstream, idle).await
}

async fn join<C, U>(mut client: C, mut upstream: U, idle: Duration) -> io::Result<(u64, u64)>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (mut inward, mut outward) = (Flow::new(), Flow::new());
    let mut timer = LazyTimer::default();
    std::future::poll_fn(|cx| {
        let moved = inward.moved + outward.moved;
        let inward_end = inward.poll(cx, &mut client, &mut upstream)?;
        let outward_end = outward.poll(cx, &mut upstream, &mut client)?;
        if inward_end.is_ready() && outward_end.is_ready() {
            return Poll::Ready(Ok((inward.moved, outward.moved)));
        }
        if inward.moved + outward.moved != moved {
            timer.clear();
        }
        ready!(timer.poll(cx, idle));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// One direction.
struct Flow {
    buffer: Box<[u8]>,
    filled: usize,
    written: usize,
    moved: u64,
    ended: bool,
    unflushed: bool,
    shut: bool,
}

impl Flow {
    fn new() -> Self {
        Self {
            buffer: vec![0; 16 * 1024].into_boxed_slice(),
            filled: 0,
            written: 0,
            moved: 0,
            ended: false,
            unflushed: false,
            shut: false,
        }
    }

    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.written < self.filled {
                let rest = self.buffer.get(self.written..self.filled).unwrap_or_default();
                let length = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
                if length == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += length;
                self.moved += length as u64;
                self.unflushed = true;
            }
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            match self.poll_fill(cx, from) {
                Poll::Ready(filled) => filled?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        self.filled = buffer.filled().len();
        self.written = 0;
        self.ended = self.filled == 0;
        Poll::Ready(Ok(()))
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
        let joined = join(client_far, upstream_far, Duration::from_secs(5));
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
        assert_eq!(joined.unwrap(), (4, 5));
    }

    #[tokio::test]
    async fn silence_ends_the_splice() {
        let (_client, client_far) = duplex(64);
        let (_upstream, upstream_far) = duplex(64);
        let joined = join(client_far, upstream_far, Duration::from_millis(20)).await;
        assert_eq!(joined.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
