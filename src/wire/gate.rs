//! The TLS handshakes of the cluster listener, a few at a time.
//!
//! A handshake costs about a millisecond of CPU. When a whole fleet comes back at once, whoever asks
//! the Admin API for something, and every data plane that is connected, would wait behind all of them.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How many handshakes are under way at a time. A thousand data planes that are 200 ms away are
/// through within seven seconds, before they give up.
const PLACES: usize = 32;

/// How long a handshake has its place to itself; one that takes longer waits for its peer, which
/// costs nothing.
const PLACE_FOR: Duration = Duration::from_millis(250);

/// How long a handshake may take once it has begun.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("TLS handshake failed")]
    Failed(#[source] io::Error),
    #[error("TLS handshake took too long")]
    TooLong,
}

/// Lets connections in.
pub(super) struct Gate {
    tls: TlsAcceptor,
    places: Semaphore,
}

impl Gate {
    pub(super) fn new(tls: TlsAcceptor) -> Self {
        Self { tls, places: Semaphore::new(PLACES) }
    }

    /// Waits for a place, and performs the handshake.
    pub(super) async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<TlsStream<S>, HandshakeError> {
        let place = self.places.acquire().await;
        let mut passing = pin!(timeout(HANDSHAKE_WITHIN, self.tls.accept(stream)));
        let passed = match timeout(PLACE_FOR, &mut passing).await {
            Ok(passed) => passed,
            Err(_) => {
                drop(place);
                passing.await
            }
        };
        passed.map_err(|_| HandshakeError::TooLong)?.map_err(HandshakeError::Failed)
    }
}
