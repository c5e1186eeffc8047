//! Certificates, keys and TLS settings of the cluster link, the listeners and the upstreams.
//!
//! This module is the only one that knows rcgen, x509-parser and webpki; the others hand in PEM
//! text and get a `rustls` configuration or a checked value back.
//!
//! Invariants:
//! - a [`pair::CertifiedPair`] always holds a key that belongs to its certificate;
//! - a [`cluster::PeerCertificate`] always passed every check of the cluster's trust;
//! - private keys appear in no `Debug` output and in no error;
//! - the crypto provider is named explicitly, never taken from the process;
//! - the time is the [`crate::clock::Clock`]'s, also inside a handshake.

pub mod chain;
pub mod ciphers;
pub mod cluster;
mod der;
mod direct;
pub mod ed25519;
pub mod expiry;
pub mod file;
pub mod generate;
pub mod listener;
pub mod names;
pub mod ocsp;
pub mod pair;
pub mod secret;
mod signature;
mod tickets;
pub mod upstream;
mod x509;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::clock::Clock;

/// Why a TLS configuration could not be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The protocol list names no version that this build speaks.
    #[error("TLS protocols '{0}' name none of TLSv1.2, TLSv1.3")]
    Protocols(String),
    /// A bundle of trusted certificates cannot be used.
    #[error("trusted certificates: {0}")]
    Trust(String),
    /// A listener was given no certificate.
    #[error("a TLS listener needs at least one certificate and key")]
    NoCertificate,
    /// The TLS library refused the settings.
    #[error("TLS settings were refused")]
    Refused(#[from] rustls::Error),
}

/// Returns the one crypto provider of the product.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Lends our clock to the TLS library, so that tests can let certificates expire.
#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Returns `bytes` in lower-case hex.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
