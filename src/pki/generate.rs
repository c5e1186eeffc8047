//! Self-signed pairs: the cluster's shared certificate and the default one of TLS listeners.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm, date_time_ymd,
};

use crate::clock::Clock;

/// Name in the cluster's shared certificate, and the server name that data planes ask for.
pub const CLUSTER_NAME: &str = "kong_clustering";

/// Days that a cluster certificate is valid for when nobody says otherwise: three years.
pub const CLUSTER_DAYS: i64 = 3 * 365;

/// Days that a listener's default certificate is valid for: twenty years.
const LISTENER_DAYS: i64 = 20 * 365;

/// A certificate and its private key in PEM.
pub struct PemPair {
    /// The certificate, a `CERTIFICATE` block.
    pub certificate: String,
    /// The key, a PKCS#8 `PRIVATE KEY` block.
    pub key: String,
}

impl fmt::Debug for PemPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemPair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Why no pair was generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The days are below 1 or lead beyond the year 9999, where certificate dates end.
    #[error("days: expected a whole number from 1 up to the year 9999, got {0}")]
    Days(i64),
    /// The library could not make the key or the certificate.
    #[error("cannot generate a certificate and key")]
    Library(#[from] rcgen::Error),
}

/// Generates the shared pair of a cluster: EC P-384, valid from now for `days` days.
///
/// Kong writes an X.509 version 1 certificate with a common name only (reference hybrid.md,
/// section 2). This one is version 3 with the name as DNS name too, no CA, and both TLS
/// purposes, so that strict peers accept it as well as Kong does.
///
/// # Errors
/// Returns [`GenerateError::Days`] for days out of range.
pub fn cluster_pair(days: i64, clock: &Clock) -> Result<PemPair, GenerateError> {
    self_signed(CLUSTER_NAME, days, &PKCS_ECDSA_P384_SHA384, clock)
}

/// Generates the certificate that TLS listeners present when none is configured (`localhost`).
///
/// # Errors
/// Fails only when the library does.
pub fn listener_pair(clock: &Clock) -> Result<PemPair, GenerateError> {
    self_signed("localhost", LISTENER_DAYS, &PKCS_ECDSA_P256_SHA256, clock)
}

fn self_signed(
    name: &str,
    days: i64,
    algorithm: &'static SignatureAlgorithm,
    clock: &Clock,
) -> Result<PemPair, GenerateError> {
    let start = clock.now();
    let end = end_of(start, days).ok_or(GenerateError::Days(days))?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(start);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(end);
    params.is_ca = IsCa::ExplicitNoCa;
    // No key usage: older OpenSSL takes a self-signed certificate for an anchor only if its
    // usage, where it has one, includes signing certificates.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate_for(algorithm)?;
    let certificate = params.self_signed(&key)?;
    Ok(PemPair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn end_of(start: DateTime<Utc>, days: i64) -> Option<DateTime<Utc>> {
    let last = DateTime::from_timestamp(253_402_300_799, 0)?;
    let length = TimeDelta::try_days(days).filter(|_| days >= 1)?;
    start.checked_add_signed(length).filter(|end| *end <= last)
}

fn since_epoch(at: DateTime<Utc>) -> Duration {
    Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or(0))
}
