//! Connections of simulated data planes: mutual TLS as the product has it, with every byte counted.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use hybridctl::clock::Clock;
use hybridctl::pki::cluster::{ClusterIdentity, LiveIdentity, cluster_client_config};
use hybridctl::wire::frame::Hello;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::response::ResponseReader;

/// How long connecting and the handshakes may take, as for a data plane.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long one answer may take, as for a data plane.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A thousand WebSockets are in one process here.
const BUFFER_BYTES: usize = 4 << 10;

/// How many bytes came, those of handshakes included.
pub(super) type Count = Arc<AtomicU64>;

/// Bytes under way, and how many came.
pub(super) struct Counted {
    stream: TcpStream,
    came: Count,
}

pub(super) type Socket = WebSocketStream<TlsStream<Counted>>;

/// The way to a control plane.
pub(super) struct Way {
    address: SocketAddr,
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Way {
    /// Finds the way to a control plane of the cluster that has this pair.
    pub(super) fn new(address: SocketAddr, certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let (certificate, key) = (fs::read_to_string(certificate)?, fs::read_to_string(key)?);
        let identity = LiveIdentity::new(ClusterIdentity::shared(&certificate, &key)?);
        let name = identity.current().server_name("localhost").context("no server name")?;
        let config = cluster_client_config(&identity, &Clock::System)?;
        Ok(Self { address, connector: TlsConnector::from(config), name })
    }

    async fn connect(&self, came: &Count) -> anyhow::Result<TlsStream<Counted>> {
        let stream = TcpStream::connect(self.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let stream = Counted { stream, came: came.clone() };
        self.connector.connect(self.name.clone(), stream).await.context("handshake failed")
    }

    /// Connects, up to the WebSocket.
    pub(super) async fn socket(&self, hello: &Hello, came: &Count) -> anyhow::Result<Socket> {
        let url = format!(
            "wss://{}/v1/hybrid?node_id={}&node_hostname={}&node_version={}",
            self.address, hello.node_id, hello.hostname, hello.version
        );
        let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES);
        let connecting = async {
            let stream = self.connect(came).await?;
            let made = tokio_tungstenite::client_async_with_config(url, stream, Some(config));
            let (socket, _) = made.await.context("upgrade failed")?;
            anyhow::Ok(socket)
        };
        timeout(CONNECT_WITHIN, connecting).await.context("connecting took too long")?
    }

    /// Connects for content by hash, as a data plane does beside its WebSocket.
    pub(super) async fn content(&self, came: &Count) -> anyhow::Result<Content> {
        let connecting = timeout(CONNECT_WITHIN, self.connect(came));
        let stream = connecting.await.context("connecting for content took too long")??;
        Ok(Content { stream, host: self.address })
    }
}

/// A connection for content.
pub(super) struct Content {
    stream: TlsStream<Counted>,
    host: SocketAddr,
}

impl Content {
    /// Returns what is at a path.
    pub(super) async fn ask(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let asking = timeout(ANSWER_WITHIN, self.exchange(path));
        asking.await.context("content took too long")?
    }

    async fn exchange(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).await?;
        let mut reader = ResponseReader::keeping(usize::MAX);
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = self.stream.read(&mut buffer).await?;
            anyhow::ensure!(count > 0, "the connection ended before the content");
            if let Some(response) = reader.feed(&buffer[..count])? {
                anyhow::ensure!(response.status == 200, "content: status {}", response.status);
                return Ok(response.body.into());
            }
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = buffer.filled().len() - before;
        self.came.fetch_add(came as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
