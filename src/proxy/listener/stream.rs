//! A client's byte stream: TCP or TLS, watched for clients that stall.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::proxy::outbox::Socket;
use crate::proxy::upstream::timer::LazyTimer;

pub(super) enum Transport {
    Tcp(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// What HTTP is spoken over.
pub(in crate::proxy) struct ClientStream {
    transport: Transport,
    /// Bytes that were read to tell the protocol, to be read again.
    prefix: Bytes,
    stall: LazyTimer,
    send_timeout: Duration,
}

impl ClientStream {
    pub(super) fn new(transport: Transport, prefix: Bytes, send_timeout: Duration) -> Self {
        Self { transport, prefix, stall: LazyTimer::default(), send_timeout }
    }

    /// Takes what was read to tell the protocol.
    pub(super) fn take_prefix(&mut self) -> BytesMut {
        BytesMut::from(std::mem::take(&mut self.prefix))
    }

    /// Tells a TLS client that what it read was all, as far as that can be told at once.
    pub(super) fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Transport::Tls(stream) = &mut self.transport {
            // A client that takes nothing any more is left without.
            let _told = Pin::new(stream).poll_shutdown(cx);
        }
        Poll::Ready(())
    }

    /// Fails a write that has been pending for the send timeout: the client reads no more.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        verdict: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if verdict.is_ready() {
            self.stall.clear();
            return verdict;
        }
        match self.stall.poll(cx, self.send_timeout) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.prefix.is_empty() {
            let length = this.prefix.len().min(buffer.remaining());
            buffer.put_slice(&this.prefix.split_to(length));
            return Poll::Ready(Ok(()));
        }
        match &mut this.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let verdict = match &mut this.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        this.bounded(cx, verdict)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let verdict = match &mut this.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        this.bounded(cx, verdict)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Transport::Tls(stream) = &mut this.transport else { return Poll::Ready(Ok(())) };
        let verdict = Pin::new(stream).poll_flush(cx);
        this.bounded(cx, verdict)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let verdict = match &mut this.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        this.bounded(cx, verdict)
    }
}
