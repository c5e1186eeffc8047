//! Content by hash from a control plane: a pack for who has nothing, nodes for who lacks a few.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
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

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// When more nodes than this are missing at once, the pack is the shorter way.
const NODES_MAX: usize = 256;

/// Why content did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentError {
    #[error("failed to connect: {}", reason(.0))]
    Connect(std::io::Error),
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
    #[error("content could not be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("content does not verify: {0}")]
    Verify(#[from] VerifyError),
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

/// TLS towards control planes.
#[derive(Clone)]
pub struct TlsLink {
    /// Trust and our own certificate, those in force.
    pub config: Arc<rustls::ClientConfig>,
    /// Who we are; decides on the name that is asked for and must be in the certificate.
    pub identity: LiveIdentity,
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
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, ContentError> {
        let connecting = async {
            let (host, port) = host_and_port(&self.address);
            let name = self.tls.identity.current().server_name(host);
            let name = name.ok_or_else(|| ContentError::NoName(host.to_owned()))?;
            let stream = TcpStream::connect((host, port)).await.map_err(ContentError::Connect)?;
            // Frames are small and each is waited for.
            let _ = stream.set_nodelay(true);
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
            let batch = missing.get(..BATCH_LEN).unwrap_or(&missing);
            let mut rest = batch.to_vec();
            if let Some(turn) = turn.as_mut().filter(|turn| turn.is_open()) {
                rest = take(turn, &mut assembly, pulled, rest).await?;
                if rest.is_empty() {
                    continue;
                }
            }
            let alone = !turn.as_ref().is_some_and(Turn::is_open) && pulled.is_empty();
            let control = match &mut control {
                Some(control) => control,
                None => control.insert(Control::connect(self).await?),
            };
            if alone && (!has_base || missing.len() > NODES_MAX) {
                return control.pack(catalog, wanted).await;
            }
            failpoint::hit("fetch.nodes");
            for (hash, bytes) in control.nodes(&rest).await? {
                assembly.feed(hash, bytes.clone())?;
                pulled.keep(hash, bytes);
            }
        }
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
        Ok(Self { sender, address: source.address.clone(), _connection: Driver(driver) })
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
            if answer.status() != StatusCode::OK {
                return Err(ContentError::Status(answer.status()));
            }
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(body.map_err(ContentError::Body)?.to_bytes())
        };
        timeout(ANSWER_WITHIN, asking).await.map_err(|_| ContentError::TimedOut)?
    }
}
