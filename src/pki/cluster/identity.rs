//! This node on the cluster link: its pair, and whom it trusts.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::sync::watch;

use super::super::TlsError;
use super::super::chain::Authorities;
use super::super::generate::CLUSTER_NAME;
use super::super::pair::{CertifiedPair, PairError, certificates};
use super::super::x509::Facts;

/// How a cluster decides which peers belong to it (`cluster_mtls`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterTrust {
    /// Every node holds the same pair; the certificate itself is pinned.
    #[default]
    Shared,
    /// Every node has a certificate of its own, which an authority vouches for.
    Pki,
}

/// Whom a node in pki mode trusts.
#[derive(Clone, Debug)]
pub struct PkiTrust {
    /// The authorities, PEM texts of one or more certificates each.
    pub authorities: Vec<String>,
    /// More of them; one that cannot be read is passed over, as in the bundle of a system.
    pub more: Vec<String>,
    /// The name that the control plane's certificate must have (`cluster_server_name`); the host
    /// that is connected to if there is none.
    pub server_name: Option<String>,
    /// How many intermediates may stand between a peer's certificate and an authority.
    pub intermediates_max: usize,
}

/// Why a node cannot have this identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The node's own pair is not usable.
    #[error("{0}")]
    Pair(#[from] PairError),
    /// A certificate of somebody else is not usable.
    #[error("trusted {0}")]
    Trusted(PairError),
    /// The authorities are not usable.
    #[error("{0}")]
    Authorities(#[from] TlsError),
    /// The name can be in no certificate.
    #[error("cluster_server_name: '{0}' is no host name")]
    ServerName(String),
}

/// Whom this node trusts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trust {
    /// The holders of these certificates, whatever their shape; the node's own comes first.
    Pinned(Vec<CertificateDer<'static>>),
    /// Whoever an authority vouches for.
    Authorities {
        authorities: Authorities,
        server_name: Option<ServerName<'static>>,
        intermediates_max: usize,
    },
}

/// This node's certificate and key on the cluster link (`cluster_cert`, `cluster_cert_key`), and
/// whom it trusts.
#[derive(Clone, Debug)]
pub struct ClusterIdentity {
    pub(super) pair: CertifiedPair,
    pub(super) trust: Trust,
    digest: [u8; 32],
}

impl ClusterIdentity {
    /// Reads the identity of a node in shared mode from PEM text.
    ///
    /// # Errors
    /// Returns which of the two texts is wrong, or that the key is not the certificate's.
    pub fn shared(certificate_pem: &str, key_pem: &str) -> Result<Self, PairError> {
        let pair = CertifiedPair::from_pem(certificate_pem, key_pem)?;
        let trust = Trust::Pinned(vec![pair.leaf().clone()]);
        Ok(Self { digest: sha256(pair.leaf()), pair, trust })
    }

    /// Pins more certificates than the node's own: every one in these PEM texts. In pki mode, where
    /// nothing is pinned, it changes nothing.
    ///
    /// # Errors
    /// Returns what is wrong with the first text that has no certificate that can be read.
    pub fn trusting(mut self, pems: &[String]) -> Result<Self, IdentityError> {
        let Trust::Pinned(pinned) = &mut self.trust else { return Ok(self) };
        for pem in pems {
            let more = certificates(pem)
                .map_err(|error| IdentityError::Trusted(PairError::BadCertificate(error)))?;
            if more.is_empty() {
                return Err(IdentityError::Trusted(PairError::NoCertificate));
            }
            for certificate in more {
                Facts::parse(&certificate)
                    .map_err(|error| IdentityError::Trusted(PairError::BadCertificate(error)))?;
                if !pinned.contains(&certificate) {
                    pinned.push(certificate);
                }
            }
        }
        Ok(self)
    }

    /// Reads the identity of a node in pki mode from PEM text.
    ///
    /// # Errors
    /// Returns which of the texts is wrong, or that the key is not the certificate's.
    pub fn pki(
        certificate_pem: &str,
        key_pem: &str,
        trust: PkiTrust,
    ) -> Result<Self, IdentityError> {
        let pair = CertifiedPair::from_pem(certificate_pem, key_pem)?;
        let server_name = match trust.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone()).map_err(|_| IdentityError::ServerName(name))?,
            ),
        };
        let trust = Trust::Authorities {
            authorities: Authorities::from_pems(&trust.authorities, &trust.more)?,
            server_name,
            intermediates_max: trust.intermediates_max,
        };
        Ok(Self { digest: sha256(pair.leaf()), pair, trust })
    }

    /// Tells whether the certificates and the trust are those of another identity.
    pub fn is_same(&self, other: &Self) -> bool {
        self.pair.certified().cert == other.pair.certified().cert && self.trust == other.trust
    }

    /// Returns the SHA-256 digest of the leaf certificate's DER.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Returns the SHA-256 digest of the leaf certificate in lower-case hex.
    pub fn digest_hex(&self) -> String {
        super::super::hex(&self.digest)
    }

    /// Returns the last moment at which the leaf is valid.
    pub fn not_after(&self) -> DateTime<Utc> {
        self.pair.not_after()
    }

    /// Returns the leaf's subject, as text for logs.
    pub fn subject(&self) -> &str {
        self.pair.subject()
    }

    /// Returns the rule by which this node trusts its peers.
    pub fn trust(&self) -> ClusterTrust {
        match self.trust {
            Trust::Pinned(_) => ClusterTrust::Shared,
            Trust::Authorities { .. } => ClusterTrust::Pki,
        }
    }

    /// Returns the server name that a data plane asks the control plane at `host` for: in shared
    /// mode always the same (reference hybrid.md, section 3.2). Nothing when `host` is no name.
    pub fn server_name(&self, host: &str) -> Option<ServerName<'static>> {
        match &self.trust {
            Trust::Pinned(_) => ServerName::try_from(CLUSTER_NAME).ok(),
            Trust::Authorities { server_name: Some(name), .. } => Some(name.clone()),
            Trust::Authorities { .. } => ServerName::try_from(host.to_owned()).ok(),
        }
    }
}

/// The identity in force; clones share it.
#[derive(Clone, Debug)]
pub struct LiveIdentity(Arc<watch::Sender<Arc<ClusterIdentity>>>);

impl LiveIdentity {
    /// Puts the first identity in force.
    pub fn new(identity: ClusterIdentity) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(identity))))
    }

    /// Returns the identity in force.
    pub fn current(&self) -> Arc<ClusterIdentity> {
        self.0.borrow().clone()
    }

    /// Puts another identity in force: for handshakes from now on.
    pub fn replace(&self, identity: ClusterIdentity) {
        self.0.send_replace(Arc::new(identity));
    }

    /// Returns what tells of each replacement.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ClusterIdentity>> {
        self.0.subscribe()
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
