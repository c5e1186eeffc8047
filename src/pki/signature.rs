//! Handshake signatures, checked with the key inside a certificate of any X.509 version.
//!
//! The TLS library checks them through a parser that refuses X.509 version 1; this one takes the
//! bare public key out of the certificate and checks with that.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::CertificateDer;

use super::x509::Facts;

/// Checks that the peer holds the private key of the certificate it presented.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignatureCheck(WebPkiSupportedAlgorithms);

impl SignatureCheck {
    pub fn new() -> Self {
        Self(super::provider().signature_verification_algorithms)
    }

    pub fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    pub fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let facts = facts(certificate)?;
        verify_tls13_signature_with_raw_key(message, &facts.spki, signed, &self.0)
    }

    pub fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let facts = facts(certificate)?;
        let key = webpki::RawPublicKeyEntity::try_from(&facts.spki)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let candidates = self.0.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let Some((_, candidates)) = candidates else {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        };
        // A TLS 1.2 scheme does not fix the curve, so each of its curves is tried.
        let valid = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signed.signature()).is_ok()
        };
        if candidates.iter().any(valid) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }
}

fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, Error> {
    Facts::parse(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}
