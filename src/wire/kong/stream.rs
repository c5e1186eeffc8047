//! Frames over a connection: a reader and a writer that do not wait for each other, and the
//! request for the upgrade as Kong's data planes write it (reference hybrid.md, section 4.1).

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::io::{ReadHalf, WriteHalf};

use super::websocket::{Frame, FrameError, Side};
use crate::clock::Clock;

/// How long the head of an answer may be, in bytes.
const HEAD_LEN_MAX: usize = 16 << 10;

/// How many header fields an answer may have.
const HEADERS_MAX: usize = 64;

/// Why no frame came or went, in Kong's words where it has some.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The other side is gone.
    #[error("closed")]
    Closed,
    /// The connection broke.
    #[error("{0}")]
    Broken(io::Error),
    /// What came is no frame of this dialect.
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The connection ended before the answer did.
    #[error("failed to receive response header: {0}")]
    Stream(#[from] StreamError),
    /// The answer is no HTTP, or has no end.
    #[error("failed to receive response header: it is malformed")]
    Malformed,
    /// The answer is no upgrade.
    #[error("unexpected HTTP response code: {0}")]
    Status(u16),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::Closed,
            _ => Self::Broken(error),
        }
    }
}

/// The reading half of a connection.
pub(super) struct Reader<S> {
    half: ReadHalf<S>,
    buffer: BytesMut,
    side: Side,
    len_max: usize,
}

/// The writing half of a connection.
pub(super) struct Writer<S> {
    half: WriteHalf<S>,
    side: Side,
    clock: Clock,
}

/// Divides a connection; `buffer` is what was read of it beyond the upgrade, and `len_max` bounds
/// the payload of a frame that is read.
pub(super) fn divide<S: AsyncRead + AsyncWrite>(
    stream: S,
    side: Side,
    (buffer, len_max): (BytesMut, usize),
    clock: Clock,
) -> (Reader<S>, Writer<S>) {
    let (reads, writes) = tokio::io::split(stream);
    (Reader { half: reads, buffer, side, len_max }, Writer { half: writes, side, clock })
}

impl<S: AsyncRead> Reader<S> {
    /// Waits for a frame. Nothing is lost when it is not waited for to the end.
    pub(super) async fn receive(&mut self) -> Result<Frame, StreamError> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer, self.side, self.len_max)? {
                return Ok(frame);
            }
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Err(StreamError::Closed);
            }
        }
    }
}

impl<S: AsyncWrite> Writer<S> {
    /// Sends a frame, whole.
    pub(super) async fn send(&mut self, frame: Frame) -> Result<(), StreamError> {
        let mask = (self.side == Side::Client).then(|| (self.clock.random() as u32).to_be_bytes());
        let (head, payload) = frame.encode(mask);
        self.half.write_all(&head).await?;
        self.half.write_all(&payload).await?;
        Ok(self.half.flush().await?)
    }
}

/// Asks for an upgrade, byte for byte as Kong does; returns what came after the answer's head.
pub(super) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    (address, target): (&str, &str),
    clock: &Clock,
) -> Result<BytesMut, UpgradeError> {
    let key = STANDARD.encode(clock.id().as_bytes());
    let request = format!(
        "GET {target} HTTP/1.1\r\nUpgrade: websocket\r\nHost: {address}\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(StreamError::from)?;
    stream.flush().await.map_err(StreamError::from)?;
    let mut buffer = BytesMut::new();
    loop {
        if stream.read_buf(&mut buffer).await.map_err(StreamError::from)? == 0 {
            return Err(StreamError::Closed.into());
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut headers);
        match answer.parse(&buffer) {
            Ok(httparse::Status::Complete(len)) => match answer.code {
                Some(101) => return Ok(buffer.split_off(len)),
                status => return Err(UpgradeError::Status(status.unwrap_or_default())),
            },
            Ok(httparse::Status::Partial) if buffer.len() < HEAD_LEN_MAX => {}
            _ => return Err(UpgradeError::Malformed),
        }
    }
}
