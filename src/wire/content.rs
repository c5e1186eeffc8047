//! Content by hash from a control plane: a pack for who has nothing, nodes for who lacks a few.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::socket::{NODES, SNAPSHOTS};
use crate::domain::catalog::Catalog;
use crate::domain::hash::ConfigHash;
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
    #[error("failed to connect: {0}")]
    Connect(std::io::Error),
    #[error("ssl handshake failed: {}", reason(.0))]
    Handshake(std::io::Error),
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

/// Returns what a verifier of ours said, which rustls shows by its name only.
fn reason(error: &std::io::Error) -> String {
    use rustls::{CertificateError, Error};
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(said))) => said.0.to_string(),
        _ => error.to_string(),
    }
}

/// TLS towards control planes.
#[derive(Clone)]
pub struct TlsLink {
    /// Trust and our own certificate.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that is asked for and must be in the certificate.
    pub server_name: ServerName<'static>,
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
            let stream = TcpStream::connect(&self.address).await.map_err(ContentError::Connect)?;
            // Frames are small and each is waited for.
            let _ = stream.set_nodelay(true);
            let connector = TlsConnector::from(self.tls.config.clone());
            let handshake = connector.connect(self.tls.server_name.clone(), stream);
            handshake.await.map_err(ContentError::Handshake)
        };
        timeout(CONNECT_WITHIN, connecting).await.map_err(|_| ContentError::TimedOut)?
    }

    /// Fetches and verifies a snapshot, reusing what `current` has of it.
    pub(super) async fn fetch(
        &self,
        catalog: &Catalog,
        current: &Snapshot,
        wanted: ConfigHash,
    ) -> Result<Snapshot, ContentError> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let fetching = async {
            if current.config().is_empty() {
                return self.pack(&mut sender, catalog, wanted).await;
            }
            let mut assembly = Assembly::new(wanted, Some(current));
            loop {
                let missing = assembly.missing();
                if missing.is_empty() {
                    return Ok(assembly.finish(catalog)?);
                }
                if missing.len() > NODES_MAX {
                    return self.pack(&mut sender, catalog, wanted).await;
                }
                for hash in missing {
                    let bytes = self.ask(&mut sender, &format!("{NODES}{hash}")).await?;
                    assembly.feed(hash, bytes)?;
                }
            }
        };
        tokio::pin!(fetching);
        tokio::select! {
            fetched = &mut fetching => fetched,
            ended = connection => {
                ended?;
                // The answers may have been read already.
                fetching.await
            }
        }
    }

    async fn pack(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        catalog: &Catalog,
        wanted: ConfigHash,
    ) -> Result<Snapshot, ContentError> {
        let packed = self.ask(sender, &format!("{SNAPSHOTS}{wanted}")).await?;
        Ok(pack::decode(catalog, wanted, &packed)?)
    }

    async fn ask(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        path: &str,
    ) -> Result<Bytes, ContentError> {
        let asking = async {
            let request = Request::get(path)
                .header(header::HOST, &self.address)
                .body(Empty::new())
                .map_err(|error| ContentError::Body(error.into()))?;
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(ContentError::Status(answer.status()));
            }
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(body.map_err(ContentError::Body)?.to_bytes())
        };
        timeout(ANSWER_WITHIN, asking).await.map_err(|_| ContentError::TimedOut)?
    }
}
