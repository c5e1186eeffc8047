//! A WebSocket that carries frames, on either side.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Where the WebSocket of the native dialect is.
pub(super) const PATH: &str = "/v1/hybrid";

/// Where packs are, before the hash.
pub(super) const SNAPSHOTS: &str = "/v1/snapshots/";

/// Where nodes are, before the hash.
pub(super) const NODES: &str = "/v1/nodes/";

/// Most nodes in one exchange: their hashes, with commas between, in place of one.
pub(super) const BATCH_LEN: usize = 128;

/// The largest frame that is read, in bytes, which is less than any `cluster_max_payload`; deltas
/// that are larger are fetched by hash instead.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// How many bytes are read at once, in a buffer that each connection keeps: frames of every day fit.
const READ_BYTES: usize = 4 << 10;

/// A longer text goes out in parts of this length, because each connection keeps a buffer of the
/// longest part that it ever sent.
const PART_BYTES_MAX: usize = 16 << 10;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// The other side closed.
    #[error("closed by the peer")]
    Closed,
    /// The request for the upgrade was answered with a status of another sort.
    #[error("unexpected HTTP response code: {0}")]
    Status(u16),
    /// The request for the upgrade was not answered.
    #[error("failed to receive response header: closed")]
    NoAnswer,
    /// The connection broke.
    #[error("broken: {0}")]
    Broken(Box<Error>),
    /// A message that is no frame.
    #[error("received something that is no frame: {0}")]
    NoFrame(serde_json::Error),
    /// A message that is no text.
    #[error("received a message that is no text")]
    NoText,
    /// The other side has no native path: it is of Kong.
    #[error("unexpected HTTP response code: 404")]
    NoSuchPath,
}

/// A frame as it is sent; a clone shares the bytes.
#[derive(Clone, Debug)]
pub(super) struct Text(Bytes);

impl Text {
    /// Encodes a frame.
    pub(super) fn of(frame: &impl Serialize) -> Result<Self, SocketError> {
        let text = serde_json::to_vec(frame).map_err(SocketError::NoFrame)?;
        Ok(Self(text.into()))
    }
}

/// Frames over a WebSocket.
pub(super) struct Socket<S>(WebSocketStream<S>);

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_write_buffer_size(2 * FRAME_BYTES_MAX)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Wraps a connection whose upgrade was answered.
    pub(super) async fn server(stream: S) -> Self {
        Self(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await)
    }

    /// Asks for the upgrade and wraps the connection.
    pub(super) async fn client(url: &str, stream: S) -> Result<Self, SocketError> {
        let upgraded = tokio_tungstenite::client_async_with_config(url, stream, Some(config()));
        upgraded.await.map(|(socket, _)| Self(socket)).map_err(refused)
    }

    /// Sends a frame.
    pub(super) async fn send(&mut self, frame: &impl Serialize) -> Result<(), SocketError> {
        self.send_text(Text::of(frame)?).await
    }

    /// Sends a frame that is encoded.
    pub(super) async fn send_text(&mut self, Text(mut rest): Text) -> Result<(), SocketError> {
        let mut kind = Data::Text;
        loop {
            let part = rest.split_to(rest.len().min(PART_BYTES_MAX));
            let part = Frame::message(part, OpCode::Data(kind), rest.is_empty());
            self.0.send(Message::Frame(part)).await.map_err(broken)?;
            if rest.is_empty() {
                return Ok(());
            }
            kind = Data::Continue;
        }
    }

    /// Waits for a frame.
    pub(super) async fn receive<F: DeserializeOwned>(&mut self) -> Result<F, SocketError> {
        loop {
            match self.0.next().await {
                None | Some(Ok(Message::Close(_))) => return Err(SocketError::Closed),
                Some(Err(error)) => return Err(broken(error)),
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(text.as_str()).map_err(SocketError::NoFrame);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_)) => return Err(SocketError::NoText),
            }
        }
    }

    /// Says goodbye; the peer need not listen.
    pub(super) async fn close(mut self) {
        let _ = self.0.close(None).await;
    }
}

/// Words for a failed upgrade: those of Kong's log lines (reference hybrid.md, section 3.4).
fn refused(error: Error) -> SocketError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        Error::Http(answer) if answer.status() == 404 => SocketError::NoSuchPath,
        Error::Http(answer) => SocketError::Status(answer.status().as_u16()),
        Error::Protocol(ProtocolError::HandshakeIncomplete) => SocketError::NoAnswer,
        Error::Io(cause)
            if matches!(cause.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) =>
        {
            SocketError::NoAnswer
        }
        error => match broken(error) {
            SocketError::Closed => SocketError::NoAnswer,
            error => error,
        },
    }
}

fn broken(error: Error) -> SocketError {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => SocketError::Closed,
        error => SocketError::Broken(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::FromData;

    /// More than a part, with signs of several bytes across its ends.
    #[tokio::test]
    async fn a_long_frame_comes_as_one_whatever_parts_it_went_in() {
        let (here, there) = tokio::io::duplex(1 << 10);
        let mut server = Socket::server(here).await;
        let mut client =
            Socket(WebSocketStream::from_raw_socket(there, Role::Client, Some(config())).await);
        for length in [0, 1, PART_BYTES_MAX, 3 * PART_BYTES_MAX] {
            let text = "\u{20ac}".repeat(length);
            let (sent, received) = tokio::join!(server.send(&text), client.receive::<String>());
            sent.unwrap();
            assert_eq!(received.unwrap(), text, "{length}");
        }
        let heartbeat = FromData::Heartbeat { applied: None };
        let (sent, received) = tokio::join!(client.send(&heartbeat), server.receive::<FromData>());
        sent.unwrap();
        assert_eq!(received.unwrap(), heartbeat);
    }
}
