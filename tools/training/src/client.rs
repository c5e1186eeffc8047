//! Clients: of the data plane, over connections of every kind, and of the Admin API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};

use crate::configuration::HOST;
use crate::upstream::{Body, pieces, whole};

/// How long a configuration may take to be served.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// Where a data plane listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// For HTTP/1.1.
    pub(crate) plain: SocketAddr,
    /// For HTTP/1.1 and HTTP/2 over TLS.
    pub(crate) tls: SocketAddr,
    /// For HTTP/2 in clear.
    pub(crate) clear_http2: SocketAddr,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Tls,
    Http2,
    ClearHttp2,
}

/// A number of requests of one sort.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) connections: usize,
    /// Requests that are under way on one connection; one, but for HTTP/2.
    pub(crate) streams: usize,
    /// Requests in all.
    pub(crate) requests: usize,
    /// After how many requests a connection is made anew.
    pub(crate) per_connection: usize,
    /// What is sent, in turn.
    pub(crate) asks: Vec<Ask>,
}

/// A request, and the answer that is expected.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) host: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: Content,
    pub(crate) status: u16,
}

/// The body of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    None,
    /// So many bytes, announced.
    Length(usize),
    /// Some pieces, and no length.
    Pieces,
}

impl Ask {
    /// Asks for a path of the usual host, which is answered with 200.
    pub(crate) fn get(
        path: &'static str,
        headers: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { method: "GET", host: HOST, path, headers, body: Content::None, status: 200 }
    }

    fn request(&self, way: Way) -> anyhow::Result<Request<Body>> {
        let builder = Request::builder().method(self.method);
        let mut builder = match way {
            Way::Plain | Way::Tls => builder.uri(self.path).header("host", self.host),
            Way::Http2 => builder.uri(format!("https://{}{}", self.host, self.path)),
            Way::ClearHttp2 => builder.uri(format!("http://{}{}", self.host, self.path)),
        };
        for (name, value) in self.headers {
            builder = builder.header(*name, *value);
        }
        let body = match self.body {
            Content::None => whole(Vec::new()),
            Content::Length(length) => whole(vec![b'b'; length]),
            Content::Pieces => pieces(),
        };
        Ok(builder.body(body)?)
    }

    async fn check(&self, response: Response<Incoming>) -> anyhow::Result<()> {
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::ensure!(
            status == self.status,
            "{} {}{} was answered {status}, not {}: {}",
            self.method,
            self.host,
            self.path,
            self.status,
            String::from_utf8_lossy(body.get(..500).unwrap_or(&body))
        );
        Ok(())
    }
}

/// Sends all requests of a scene.
pub(crate) async fn play(scene: &Scene, addresses: Addresses) -> anyhow::Result<()> {
    let scene = Arc::new(scene.clone());
    let mut lanes = JoinSet::new();
    for lane in 0..scene.connections {
        lanes.spawn(play_lane(scene.clone(), addresses, lane));
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    Ok(())
}

/// Sends what one connection after the other sends of a scene.
async fn play_lane(scene: Arc<Scene>, addresses: Addresses, lane: usize) -> anyhow::Result<()> {
    let mut left = scene.requests / scene.connections;
    while left > 0 {
        let some = left.min(scene.per_connection);
        left -= some;
        let mut sender = Sender::connect(scene.way, addresses).await?;
        let Sender::Http2(sender) = &sender else {
            for number in 0..some {
                sender.ask(scene.way, scene.ask(lane + number)).await?;
            }
            continue;
        };
        let mut streams = JoinSet::new();
        for stream in 0..scene.streams {
            let (mut sender, scene) = (Sender::Http2(sender.clone()), scene.clone());
            streams.spawn(async move {
                for number in (stream..some).step_by(scene.streams) {
                    sender.ask(scene.way, scene.ask(lane + number)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(stream) = streams.join_next().await {
            stream??;
        }
    }
    Ok(())
}

impl Scene {
    fn ask(&self, number: usize) -> &Ask {
        &self.asks[number % self.asks.len()]
    }
}

/// Waits until a request is answered as it should be.
pub(crate) async fn until_served(addresses: Addresses, ask: Ask) -> anyhow::Result<()> {
    let deadline = Instant::now() + SERVED_WITHIN;
    loop {
        let mut sender = Sender::connect(Way::Plain, addresses).await?;
        match sender.ask(Way::Plain, &ask).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.context("not in time")),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The sending half of a connection.
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Sender {
    async fn connect(way: Way, addresses: Addresses) -> anyhow::Result<Self> {
        match way {
            Way::Plain => Self::http1(tcp(addresses.plain).await?).await,
            Way::Tls => Self::http1(tls(addresses.tls, b"http/1.1").await?).await,
            Way::Http2 => Self::http2(tls(addresses.tls, b"h2").await?).await,
            Way::ClearHttp2 => Self::http2(tcp(addresses.clear_http2).await?).await,
        }
    }

    async fn http1(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What goes wrong, whoever waits for an answer is told.
        tokio::spawn(connection);
        Ok(Self::Http1(sender))
    }

    async fn http2(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let executor = TokioExecutor::new();
        let (sender, connection) = http2::handshake(executor, TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self::Http2(sender))
    }

    async fn ask(&mut self, way: Way, ask: &Ask) -> anyhow::Result<()> {
        let request = ask.request(way)?;
        let response = self.send(request).await;
        ask.check(response.with_context(|| format!("{} {}", ask.method, ask.path))?).await
    }

    async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

async fn tcp(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn tls(
    address: SocketAddr,
    protocol: &[u8],
) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(schemes)))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    Ok(connector.connect(ServerName::try_from(HOST)?, tcp(address).await?).await?)
}

/// Takes every certificate: the data plane shows one that it has made for itself.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// A client of the Admin API.
pub(crate) struct Admin {
    sender: http1::SendRequest<Body>,
    host: String,
}

impl Admin {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(tcp(address).await?)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_string() })
    }

    /// Sends JSON, and fails unless it is accepted.
    pub(crate) async fn write(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<()> {
        self.send(method, path, "application/json", body.to_string().into_bytes()).await
    }

    /// Sends a form, and fails unless it is accepted.
    pub(crate) async fn form(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        self.send("POST", path, "application/x-www-form-urlencoded", body.into()).await
    }

    /// Reads, and fails unless there is something.
    pub(crate) async fn read(&mut self, path: &str) -> anyhow::Result<()> {
        self.send("GET", path, "application/json", Vec::new()).await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<()> {
        let request = Request::builder().method(method).uri(path).header("host", &self.host);
        let request = request.header("content-type", content_type).body(whole(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status: StatusCode = response.status();
        let body: Bytes = response.into_body().collect().await?.to_bytes();
        let said = String::from_utf8_lossy(&body);
        anyhow::ensure!(status.is_success(), "{method} {path} was answered {status}: {said}");
        Ok(())
    }
}
