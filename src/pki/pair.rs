//! A certificate chain and its private key, read from PEM text and proved to belong together.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};

use super::x509::Facts;

/// Why a certificate and a key cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// There is no `CERTIFICATE` block.
    #[error("certificate: expected PEM text with a CERTIFICATE block")]
    NoCertificate,
    /// A block cannot be decoded, or its content is no certificate.
    #[error("certificate: cannot be read ({0})")]
    BadCertificate(String),
    /// There is no private key block.
    #[error("key: expected PEM text with a PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block")]
    NoKey,
    /// The key is protected by a passphrase.
    #[error("key: is encrypted; expected a key without a passphrase")]
    EncryptedKey,
    /// The block is damaged, or its algorithm is not served.
    #[error(
        "key: cannot be used; expected RSA of at least 2048 bits, EC P-256, P-384 or P-521, or Ed25519"
    )]
    BadKey,
    /// The key belongs to another certificate.
    #[error("key: does not belong to the certificate")]
    Mismatch,
}

/// A certificate chain, leaf first, with the private key of its leaf.
#[derive(Clone)]
pub struct CertifiedPair {
    certified: Arc<CertifiedKey>,
    facts: Facts,
}

impl CertifiedPair {
    /// Reads a chain (leaf first; RSA or EC, any X.509 version) and a key (PKCS#8, PKCS#1 or
    /// SEC1) from PEM text.
    ///
    /// # Errors
    /// Returns which of the two texts is wrong and what was expected of it, or that the key is
    /// not the certificate's.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PairError> {
        let chain = certificates(certificate_pem).map_err(PairError::BadCertificate)?;
        let leaf = chain.first().ok_or(PairError::NoCertificate)?;
        let facts = Facts::parse(leaf).map_err(PairError::BadCertificate)?;
        let key = private_key(key_pem)?;
        match key.public_key() {
            Some(public) if same_key(&public, &facts.spki) => {}
            _ => return Err(PairError::Mismatch),
        }
        // `CertifiedKey::from_der` would refuse X.509 version 1, hence the check above.
        Ok(Self { certified: Arc::new(CertifiedKey::new(chain, key)), facts })
    }

    /// Returns the last moment at which the leaf is valid.
    pub fn not_after(&self) -> DateTime<Utc> {
        self.facts.not_after
    }

    /// Returns the leaf's subject, as text for logs.
    pub fn subject(&self) -> &str {
        &self.facts.subject
    }

    /// Returns the leaf certificate in DER.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        // The chain was checked to have a leaf before this value was made.
        &self.certified.cert[0]
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl fmt::Debug for CertifiedPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertifiedPair")
            .field("subject", &self.facts.subject)
            .field("not_after", &self.facts.not_after)
            .finish_non_exhaustive()
    }
}

/// Returns every certificate in `pem`, in order; other blocks are passed over.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn private_key(pem: &str) -> Result<Arc<dyn SigningKey>, PairError> {
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || pem.contains("Proc-Type: 4,ENCRYPTED")
    {
        return Err(PairError::EncryptedKey);
    }
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => PairError::NoKey,
        _ => PairError::BadKey,
    })?;
    // The provider wipes the DER after it has read the key.
    super::provider().key_provider.load_private_key(der).map_err(|_| PairError::BadKey)
}

/// Compares two public keys; an RSA algorithm identifier may or may not carry its NULL.
fn same_key(left: &SubjectPublicKeyInfoDer<'_>, right: &SubjectPublicKeyInfoDer<'_>) -> bool {
    use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
    if left == right {
        return true;
    }
    let parsed = (SubjectPublicKeyInfo::from_der(left), SubjectPublicKeyInfo::from_der(right));
    let (Ok((_, left)), Ok((_, right))) = parsed else { return false };
    left.algorithm.algorithm == right.algorithm.algorithm
        && left.subject_public_key.data == right.subject_public_key.data
}
