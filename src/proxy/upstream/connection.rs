//! One connection to an upstream: its stream, what was read ahead, and its timer.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::{Step, UpstreamError, UpstreamErrorKind};
use super::peer::{PeerAddress, Timeouts};
use super::response::Span;
use super::stream::Stream;
use super::timer::LazyTimer;
use crate::proxy::outbox::Socket;
use crate::proxy::received::Inbox;

/// Room for one receive of a small body, or of what follows the begin of a head.
const READ_MIN: usize = 8 * 1024;
/// Room for one receive of a long body.
const READ_MAX: usize = 64 * 1024;

/// Opens a stream to a peer, through the TLS handshake where it speaks TLS.
pub(in crate::proxy) async fn connect(
    peer: &PeerAddress,
    timeouts: &Timeouts,
) -> Result<Stream, UpstreamError> {
    let late = |_| UpstreamError::new(UpstreamErrorKind::Timeout(Step::Connect), false);
    let failed = |error| UpstreamError::caused(UpstreamErrorKind::Connect, false, error);
    let tcp = timeout(timeouts.connect(), TcpStream::connect(peer.addr))
        .await
        .map_err(late)?
        .map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    let tcp = Socket::new(tcp);
    let Some(tls) = &peer.tls else { return Ok(Stream::Tcp(tcp)) };
    let connector = TlsConnector::from(tls.config.clone());
    let stream = timeout(timeouts.connect(), connector.connect(tls.server_name.clone(), tcp))
        .await
        .map_err(late)?
        .map_err(|error| UpstreamError::caused(UpstreamErrorKind::Tls, false, error))?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// A connection that is either idle in a pool or owned by one exchange.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) buffer: BytesMut,
    /// Room for the parser of heads.
    pub(super) spans: Vec<Span>,
    /// For the body of an answer: its head is waited for by the timer of whoever asked.
    pub(super) timer: LazyTimer,
    /// Exchanges begun on this connection.
    pub(super) requests: u64,
}

impl Connection {
    /// Connects to a peer.
    pub(super) async fn open(
        peer: &PeerAddress,
        timeouts: &Timeouts,
    ) -> Result<Self, UpstreamError> {
        let stream = connect(peer, timeouts).await?;
        let (buffer, timer) = (BytesMut::new(), LazyTimer::default());
        Ok(Self { stream, buffer, spans: Vec::new(), timer, requests: 0 })
    }

    /// Reads once into the buffer; 0 is the end of the stream. `expected` is how much is known to
    /// follow.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        expected: u64,
    ) -> Poll<io::Result<usize>> {
        let room = usize::try_from(expected).unwrap_or(READ_MAX).clamp(READ_MIN, READ_MAX);
        // A buffer that is half full keeps growing in place; an empty one starts anew.
        if self.buffer.capacity() - self.buffer.len() < READ_MIN / 2 {
            self.buffer.reserve(room);
        }
        let read = pin!(self.stream.read_buf(&mut self.buffer));
        let length = ready!(std::future::Future::poll(read, cx))?;
        self.timer.clear();
        Poll::Ready(Ok(length))
    }

    /// Reads once into the buffer while a head is awaited; 0 is the end of the stream.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &RefCell<Inbox>,
    ) -> Poll<io::Result<usize>> {
        if !self.buffer.is_empty() {
            return self.poll_fill(cx, 0);
        }
        self.buffer = ready!(inbox.borrow_mut().poll_receive(cx, &mut self.stream))?;
        Poll::Ready(Ok(self.buffer.len()))
    }
}
