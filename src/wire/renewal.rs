//! A new connection for a data plane whose certificate was replaced: it is made beside the old
//! one, which stays until the control plane has welcomed the new one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::content::{CONNECT_WITHIN, ContentError, LinkStream, Source};
use super::socket::{Socket, SocketError};
use crate::pki::cluster::ClusterIdentity;

/// How long it waits after a failure; the old connection serves meanwhile.
const RETRY: Duration = Duration::from_secs(30);

/// How long a farewell may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// A WebSocket to a control plane.
pub(super) type ClientSocket = Socket<LinkStream>;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Content(#[from] ContentError),
    #[error("{0}")]
    Socket(#[from] SocketError),
}

/// Connects to a control plane, up to the WebSocket.
pub(super) async fn connect(source: &Source, url: &str) -> Result<ClientSocket, ConnectError> {
    let connecting = async {
        let stream = source.connect().await?;
        Ok(Socket::client(url, stream).await?)
    };
    timeout(CONNECT_WITHIN, connecting).await.map_err(|_| ContentError::TimedOut)?
}

type Work = Pin<Box<dyn Future<Output = Result<ClientSocket, ConnectError>> + Send>>;

/// Follows the certificate of a link.
pub(super) struct Renewal {
    identity: watch::Receiver<Arc<ClusterIdentity>>,
    /// The certificate that the connection was made with.
    digest: [u8; 32],
    work: Option<Work>,
    /// The new connection, and the old one.
    ready: Option<ClientSocket>,
    previous: Option<ClientSocket>,
}

impl Renewal {
    pub(super) fn new(mut identity: watch::Receiver<Arc<ClusterIdentity>>) -> Self {
        let digest = *identity.borrow_and_update().digest();
        Self { identity, digest, work: None, ready: None, previous: None }
    }

    /// Notes that a connection is being made with the certificate in force, or returns the one
    /// that is there already.
    pub(super) fn begin(&mut self) -> Option<ClientSocket> {
        self.work = None;
        self.digest = *self.identity.borrow_and_update().digest();
        self.ready.take()
    }

    /// Returns once there is a new connection because of another certificate. It may be dropped
    /// and called again at any time.
    pub(super) async fn renewed(&mut self, source: &Source, url: &str) {
        loop {
            if let Some(work) = &mut self.work {
                match work.await {
                    Ok(socket) => {
                        self.work = None;
                        self.ready = Some(socket);
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(
                            "[clustering] cannot connect with the new certificate, the connection \
                             stays: {error} (retrying after {} seconds)",
                            RETRY.as_secs()
                        );
                        self.work = Some(begin(source, url, RETRY));
                    }
                }
            } else {
                if self.identity.changed().await.is_err() {
                    return std::future::pending().await;
                }
                if *self.identity.borrow().digest() != self.digest {
                    self.work = Some(begin(source, url, Duration::ZERO));
                }
            }
        }
    }

    /// Keeps the old connection open until the new one is welcomed.
    pub(super) fn keep(&mut self, previous: ClientSocket) {
        self.previous = Some(previous);
    }

    /// Ends the old connection.
    pub(super) async fn welcomed(&mut self) {
        if let Some(previous) = self.previous.take() {
            let _ = timeout(CLOSE_WITHIN, previous.close()).await;
        }
    }
}

fn begin(source: &Source, url: &str, pause: Duration) -> Work {
    let (source, url) = (source.clone(), url.to_owned());
    Box::pin(async move {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        connect(&source, &url).await
    })
}
