//! Content by hash from a control plane: a pack for who has nothing, nodes for who lacks a few.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::host_and_port;
use super::mirror::{Mirror, Turn};
use super::socket::{BATCH_LEN, NODES, SNAPSHOTS};
use super::tunnel::{ForwardProxy, TunnelError, Way};
use crate::domain::catalog::Catalog;
use crate::domain::hash::{ConfigHash, NodeHash};
use crate::failpoint;
use crate::pki::cluster::LiveIdentity;
use crate::snapshot::assembly::Assembly;
use crate::snapshot::{Snapshot, VerifyError, pack};

/// How long connecting and the handshakes may take.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// When more nodes than this are missing at once, the pack is the shorter way.
const NODES_MAX: usize = 256;

/// Why content did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentError {
    #[error("failed to connect: {}", reason(.0))]
    Connect(std::io::Error),
    #[error("{0}")]
    Tunnel(#[from] TunnelError),
    #[error("ssl handshake failed: {}", reason(.0))]
    Handshake(std::io::Error),
    #[error("ssl handshake failed: '{0}' is no host name")]
    NoName(String),
    #[error("timed out")]
    TimedOut,
    #[error("content could not be fetched: {0}")]
    Http(#[from] hyper::Error),
    #[error("content could not be fetched: HTTP status {0}")]
    Status(StatusCode),
    #[error(
        "content could not be fetched: it does not fit into a message of the {} \
         (cluster_max_payload)",
        .0.name()
    )]
    TooLarge(Whose),
    #[error("content could not be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("content does not verify: {0}")]
    Verify(#[from] VerifyError),
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    ControlPlane,
    DataPlane,
}

impl Whose {
    fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control plane",
            Self::DataPlane => "data plane",
        }
    }
}

/// Returns Kong's word for a failure, or what a verifier of ours said, which rustls shows by its
/// name only.
fn reason(error: &std::io::Error) -> String {
    use rustls::{CertificateError, Error};
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(said))) => said.0.to_string(),
        Some(error) => error.to_string(),
        None => match error.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => "closed".to_owned(),
            ErrorKind::TimedOut => "timeout".to_owned(),
            _ => error.to_string(),
        },
    }
}

/// A connection to a control plane.
pub(super) type LinkStream = TlsStream<Way>;

/// How control planes are reached, whom we trust there, and how much at once.
#[derive(Clone)]
pub struct TlsLink {
    /// Trust and our own certificate, those in force.
    pub config: Arc<rustls::ClientConfig>,
    /// Who we are; decides on the name that is asked for and must be in the certificate.
    pub identity: LiveIdentity,
    /// What is gone through on the way there.
    pub proxy: Option<ForwardProxy>,
    /// The largest message that is read, in bytes (`cluster_max_payload`).
    pub payload_bytes_max: usize,
}

impl TlsLink {
    /// Opens a way to a host.
    async fn way(&self, host: &str, port: u16) -> Result<Way, ContentError> {
        if let Some(proxy) = &self.proxy {
            return Ok(proxy.connect(host, port).await?);
        }
        let stream = TcpStream::connect((host, port)).await.map_err(ContentError::Connect)?;
        // Frames are small and each is waited for.
        let _ = stream.set_nodelay(true);
        Ok(Way::Plain(stream))
    }
}

/// One control plane as a source of content.
#[derive(Clone)]
pub(super) struct Source {
    address: String,
    tls: TlsLink,
}

impl Source {
    pub(super) fn new(address: String, tls: TlsLink) -> Self {
        Self { address, tls }
    }

    /// Connects, as far as the end of the TLS handshake.
    pub(super) async fn connect(&self) -> Result<LinkStream, ContentError> {
        let connecting = async {
            let (host, port) = host_and_port(&self.address);
            let name = self.tls.identity.current().server_name(host);
            let name = name.ok_or_else(|| ContentError::NoName(host.to_owned()))?;
            let stream = self.tls.way(host, port).await?;
            let connector = TlsConnector::from(self.tls.config.clone());
            let handshake = connector.connect(name, stream);
            handshake.await.map_err(ContentError::Handshake)
        };
        timeout(CONNECT_WITHIN, connecting).await.map_err(|_| ContentError::TimedOut)?
    }

    /// Fetches and verifies a snapshot, reusing what `current` has of it. A mirror is asked first,
    /// the control plane for what that does not have. What came before a failure is in `pulled`.
    pub(super) async fn fetch(
        &self,
        catalog: &Catalog,
        (current, wanted): (&Snapshot, ConfigHash),
        mirror: Option<&Mirror>,
        pulled: &Pulled,
    ) -> Result<Snapshot, ContentError> {
        let has_base = !current.config().is_empty();
        let mut assembly = Assembly::new(wanted, Some(current).filter(|_| has_base));
        let mut turn = mirror.and_then(Turn::begin);
        let mut control = None;
        let mut asks = Asks::default();
        loop {
            pulled.feed(&mut assembly)?;
            let missing = assembly.missing();
            if missing.is_empty() {
                failpoint::hit("fetch.whole");
                let snapshot = assembly.finish(catalog);
                // Whole or not valid: in neither case are its nodes wanted again.
                pulled.clear();
                return Ok(snapshot?);
            }
            let batch = missing.get(..asks.nodes).unwrap_or(&missing);
            let mut rest = batch.to_vec();
            if let Some(turn) = turn.as_mut().filter(|turn| turn.is_open()) {
                rest = take(turn, &mut assembly, pulled, rest).await?;
                if rest.is_empty() {
                    continue;
                }
            }
            let alone = !turn.as_ref().is_some_and(Turn::is_open) && pulled.is_empty();
            let asked = match &mut control {
                Some(control) => control,
                None => control.insert(Control::connect(self).await?),
            };
            let nodes = if asks.pack && alone && (!has_base || missing.len() > NODES_MAX) {
                match asked.pack(catalog, wanted).await {
                    Err(ContentError::TooLarge(_)) => {
                        asks.pack = false;
                        None
                    }
                    snapshot => return snapshot,
                }
            } else {
                failpoint::hit("fetch.nodes");
                match asked.nodes(&rest).await {
                    Err(ContentError::TooLarge(_)) if rest.len() > 1 => {
                        asks.halve(rest.len());
                        None
                    }
                    nodes => Some(nodes?),
                }
            };
            let Some(nodes) = nodes else {
                // The rest of the answer is still under way there.
                control = None;
                continue;
            };
            for (hash, bytes) in nodes {
                assembly.feed(hash, bytes.clone())?;
                pulled.keep(hash, bytes);
            }
            asks.succeeded();
        }
    }
}

/// How much a control plane is asked for at once. What is too large is asked for in parts.
struct Asks {
    /// Whether for the whole.
    pack: bool,
    /// How many nodes at the most.
    nodes: usize,
}

impl Default for Asks {
    fn default() -> Self {
        Self { pack: true, nodes: BATCH_LEN }
    }
}

impl Asks {
    fn halve(&mut self, asked: usize) {
        self.nodes = (asked / 2).max(1);
    }

    fn succeeded(&mut self) {
        self.nodes = (self.nodes * 2).min(BATCH_LEN);
    }
}

/// Takes from a mirror what it gives of the nodes; returns the others.
async fn take(
    turn: &mut Turn<'_>,
    assembly: &mut Assembly,
    pulled: &Pulled,
    mut wanted: Vec<NodeHash>,
) -> Result<Vec<NodeHash>, ContentError> {
    for (hash, bytes) in turn.pull(&wanted).await {
        match assembly.feed(hash, bytes.clone()) {
            Ok(()) => {
                wanted.retain(|other| *other != hash);
                pulled.keep(hash, bytes);
            }
            Err(VerifyError::NodeMismatch(hash)) => turn.distrust(hash),
            // The bytes are what the head stands for: it is the head that is not good.
            Err(error) => return Err(error.into()),
        }
    }
    Ok(wanted)
}

/// So many nodes of heads that were never obtained are enough: they are of millions of entities.
const PULLED_MAX: usize = 1 << 18;

/// Nodes of a snapshot that is not whole yet. A session that breaks leaves them to the next one.
#[derive(Default)]
pub(super) struct Pulled(Mutex<HashMap<NodeHash, Bytes>>);

impl Pulled {
    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeHash, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, hash: NodeHash, bytes: Bytes) {
        let mut nodes = self.nodes();
        if nodes.len() >= PULLED_MAX {
            nodes.clear();
        }
        nodes.insert(hash, bytes);
    }

    fn is_empty(&self) -> bool {
        self.nodes().is_empty()
    }

    fn clear(&self) {
        self.nodes().clear();
    }

    /// Hands in what is there of what is missing.
    fn feed(&self, assembly: &mut Assembly) -> Result<(), VerifyError> {
        loop {
            let nodes = self.nodes();
            let missing = assembly.missing();
            let known: Vec<_> =
                missing.iter().filter_map(|hash| Some((*hash, nodes.get(hash)?.clone()))).collect();
            if known.is_empty() {
                return Ok(());
            }
            for (hash, bytes) in known {
                assembly.feed(hash, bytes)?;
            }
        }
    }
}

/// A connection to a control plane for content.
struct Control {
    sender: SendRequest<Empty<Bytes>>,
    address: String,
    bytes_max: usize,
    /// Ends with this value.
    _connection: Driver,
}

/// The task that moves the bytes of a connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Control {
    async fn connect(source: &Source) -> Result<Self, ContentError> {
        let stream = TokioIo::new(source.connect().await?);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        // Its errors are the sender's to tell.
        let driver = tokio::spawn(async move { drop(connection.await) });
        let (address, bytes_max) = (source.address.clone(), source.tls.payload_bytes_max);
        Ok(Self { sender, address, bytes_max, _connection: Driver(driver) })
    }

    async fn pack(
        &mut self,
        catalog: &Catalog,
        wanted: ConfigHash,
    ) -> Result<Snapshot, ContentError> {
        let packed = self.ask(&format!("{SNAPSHOTS}{wanted}")).await?;
        failpoint::hit("fetch.packed");
        Ok(pack::decode(catalog, wanted, &packed)?)
    }

    /// Fetches many nodes in one exchange.
    async fn nodes(&mut self, hashes: &[NodeHash]) -> Result<Vec<(NodeHash, Bytes)>, ContentError> {
        if let [hash] = hashes {
            return Ok(vec![(*hash, self.ask(&format!("{NODES}{hash}")).await?)]);
        }
        let names: Vec<_> = hashes.iter().map(ToString::to_string).collect();
        let bytes = self.ask(&format!("{NODES}{}", names.join(","))).await?;
        let nodes = pack::split(&bytes)?;
        if nodes.len() != hashes.len() {
            return Err(VerifyError::Malformed("another number of nodes than asked for").into());
        }
        Ok(hashes.iter().copied().zip(nodes).collect())
    }

    async fn ask(&mut self, path: &str) -> Result<Bytes, ContentError> {
        let asking = async {
            failpoint::hit("fetch.ask");
            let request = Request::get(path)
                .header(header::HOST, &self.address)
                .body(Empty::new())
                .map_err(|error| ContentError::Body(error.into()))?;
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let announced = answer.body().size_hint().lower();
            match answer.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    return Err(ContentError::TooLarge(Whose::ControlPlane));
                }
                StatusCode::OK if announced > self.bytes_max as u64 => {
                    return Err(ContentError::TooLarge(Whose::DataPlane));
                }
                StatusCode::OK => {}
                status => return Err(ContentError::Status(status)),
            }
            let body = Limited::new(answer.into_body(), self.bytes_max).collect().await;
            Ok(body.map_err(ContentError::Body)?.to_bytes())
        };
        timeout(ANSWER_WITHIN, asking).await.map_err(|_| ContentError::TimedOut)?
    }
}
