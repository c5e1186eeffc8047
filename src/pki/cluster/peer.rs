//! What a control plane checks of a data plane's certificate once the handshake has ended.

use chrono::{DateTime, Utc};
use rustls_pki_types::CertificateDer;

use super::super::chain::Refusal;
use super::super::ocsp::RevocationError;
use super::super::x509::{Facts, Purpose};
use super::identity::{ClusterIdentity, Trust, sha256};
use crate::clock::Clock;

/// A peer's certificate that passed every check of [`check_peer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    not_after: DateTime<Utc>,
    digest: [u8; 32],
    chain: Vec<CertificateDer<'static>>,
}

impl PeerCertificate {
    /// Returns the last moment at which the certificate is valid (`cert_details`).
    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// Returns the SHA-256 digest of the certificate.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Returns the verified chain in DER: the peer's certificate, and after each its issuer. In pki
    /// mode the authority comes last, in shared mode the certificate is alone.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// Why a peer on the cluster port is turned away; the texts are Kong's log lines.
///
/// `Refused` and `NotSent` are answered with a plain 400, the others close the connection
/// without an answer (reference hybrid.md, section 3.4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The client sent no certificate (shared mode).
    #[error("data plane failed to present client certificate during handshake")]
    Missing,
    /// The client's certificate cannot be read.
    #[error("unable to load data plane client certificate during handshake: {0}")]
    Unreadable(String),
    /// The certificate is not the one that the cluster shares.
    #[error(
        "data plane presented incorrect client certificate during handshake (digest does not match the control plane certificate)"
    )]
    Incorrect,
    /// The client sent no certificate (pki mode).
    #[error("client sent no required SSL certificate")]
    NotSent,
    /// The certificate is out of date, for another purpose, or nobody trusted vouches for it.
    #[error("client SSL certificate verify error: ({}:{})", .0.code, .0.reason)]
    Refused(Refusal),
    /// The certificate was revoked, or has to be checked for that and could not be (pki mode).
    #[error(transparent)]
    Revocation(#[from] RevocationError),
}

impl PeerError {
    /// Tells whether the connection is closed without an answer rather than answered with 400.
    pub fn closes_silently(&self) -> bool {
        !matches!(self, Self::NotSent | Self::Refused(_))
    }
}

/// Checks the certificates that a data plane presented in the handshake (leaf first; `None` or
/// empty when it presented none) against the identity of this control plane.
///
/// # Errors
/// Returns the first check that failed, in Kong's order.
pub fn check_peer(
    identity: &ClusterIdentity,
    presented: Option<&[CertificateDer<'_>]>,
    clock: &Clock,
) -> Result<PeerCertificate, PeerError> {
    let presented = presented.unwrap_or_default();
    let now = clock.now();
    let chain = match &identity.trust {
        Trust::Pinned(pinned) => {
            let leaf = presented.first().ok_or(PeerError::Missing)?;
            vec![check_pinned(pinned, leaf, now)?]
        }
        Trust::Authorities { authorities, intermediates_max, .. } => {
            if presented.is_empty() {
                return Err(PeerError::NotSent);
            }
            authorities
                .verify(presented, Purpose::Client, now, *intermediates_max)
                .map_err(PeerError::Refused)?
        }
    };
    let leaf = chain.first().ok_or(PeerError::NotSent)?;
    let facts = Facts::parse(leaf).map_err(PeerError::Unreadable)?;
    Ok(PeerCertificate { not_after: facts.not_after, digest: sha256(leaf), chain })
}

fn check_pinned(
    pinned: &[CertificateDer<'static>],
    leaf: &CertificateDer<'_>,
    now: DateTime<Utc>,
) -> Result<CertificateDer<'static>, PeerError> {
    let facts = Facts::parse(leaf).map_err(PeerError::Unreadable)?;
    let own = pinned.iter().find(|own| own.as_ref() == leaf.as_ref());
    let own = own.ok_or(PeerError::Incorrect)?;
    facts.check_time(now).map_err(PeerError::Refused)?;
    if !facts.allows(Purpose::Client) {
        return Err(PeerError::Refused(Refusal::purpose()));
    }
    Ok(own.clone())
}
