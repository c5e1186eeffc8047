//! A byte stream to an upstream: TCP or TLS, and the raw stream after a protocol switch.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::proxy::ahead::ReadAhead;
use crate::proxy::outbox::Socket;

/// A connected stream.
#[derive(Debug)]
pub(in crate::proxy) enum Stream {
    Tcp(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Returns whether an idle stream is still usable: neither closed nor holding bytes that
    /// nobody asked for. Costs no syscall while the runtime knows of no event.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        if let Self::Tcp(stream) = self {
            return stream
                .try_read(&mut byte)
                .is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock);
        }
        let mut buffer = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(self).poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// Throws away what was written and has not gone; the stream is of no use after that.
    pub(super) fn discard(&self) {
        match self {
            Self::Tcp(stream) => stream.discard(),
            Self::Tls(stream) => stream.get_ref().0.discard(),
        }
    }

    /// Returns how many bytes have gone since the connection was opened: what was written may be held.
    pub(super) fn gone(&self) -> u64 {
        match self {
            Self::Tcp(stream) => stream.gone(),
            Self::Tls(stream) => stream.get_ref().0.gone(),
        }
    }

    /// Returns whether written bytes may wait in the stream until it is flushed.
    pub(super) fn needs_flush(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => match Pin::new(stream).poll_read(cx, buffer) {
                // Many servers close without a close_notify; framing tells a cut response anyway.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                other => other,
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The stream of an upstream that switched protocols, with the bytes that came behind its 101.
pub(in crate::proxy) type UpgradedStream = ReadAhead<Stream>;
