//! Requests that no handler sees, and who is told of them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;

/// A request that was refused before its head was whole, or because of what its head is.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Its first line as far as it came; empty where none did.
    pub line: &'a [u8],
    /// What it was answered, or would have been if the client had waited.
    pub status: StatusCode,
    /// How long the body of the answer is, in bytes.
    pub bytes_sent: u64,
}

/// Who is told of refused requests; by default nobody. Clones tell the same.
#[derive(Clone, Default)]
pub struct Refusals(Option<Arc<Listen>>);

type Listen = dyn Fn(&Refused<'_>) + Send + Sync;

impl Refusals {
    /// Makes one that calls `listen`, on any core.
    pub fn new(listen: impl Fn(&Refused<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listen)))
    }

    pub(super) fn tell(&self, refused: &Refused<'_>) {
        if let Some(listen) = &self.0 {
            listen(refused);
        }
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Refusals(told: {})", self.0.is_some())
    }
}
