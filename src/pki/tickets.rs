//! Session tickets that end when the operator says (`ssl_session_timeout`).

use std::sync::Arc;
use std::time::Duration;

use rustls::server::ProducesTickets;

use crate::clock::Clock;

/// Tickets that carry the time they were made at.
///
/// The keys of the library's own tickets change every six hours, and the one before is still
/// taken: no ticket is good for more than twelve hours.
#[derive(Debug)]
pub(super) struct Tickets {
    inner: Arc<dyn ProducesTickets>,
    clock: Clock,
    lifetime_s: u32,
}

impl Tickets {
    /// Makes tickets that are good for so long.
    pub(super) fn new(clock: &Clock, lifetime: Duration) -> Result<Self, rustls::Error> {
        let inner = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        let lifetime_s = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        Ok(Self { inner, clock: clock.clone(), lifetime_s })
    }

    fn now_s(&self) -> i64 {
        self.clock.now().timestamp()
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.lifetime_s > 0 && self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_s.min(self.inner.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut dated = self.now_s().to_be_bytes().to_vec();
        dated.extend_from_slice(plain);
        self.inner.encrypt(&dated)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let dated = self.inner.decrypt(cipher)?;
        let (made, plain) = dated.split_first_chunk()?;
        let age = self.now_s().checked_sub(i64::from_be_bytes(*made))?;
        (age <= i64::from(self.lifetime_s)).then(|| plain.to_vec())
    }
}
