//! Whether one key signed something, for shapes that webpki does not read.

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::der::{Reader, tag};
use super::x509::Facts;

/// Tells whether `issuer` is named as the issuer of a certificate and has signed it; nothing when
/// the certificate cannot be read.
pub(super) fn is_signed_by(certificate: &CertificateDer<'_>, issuer: &Facts) -> Option<bool> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    if parsed.issuer().as_raw() != issuer.subject_der() {
        return Some(false);
    }
    let signed = parsed.tbs_certificate.as_ref();
    let algorithm = algorithm(certificate)?;
    verifies(&issuer.spki, algorithm, signed, &parsed.signature_value.data)
}

/// Tells whether the signature is that of a key, made with an algorithm (the content of an
/// AlgorithmIdentifier) that is served; nothing when the key cannot be read.
pub(super) fn verifies(
    key: &SubjectPublicKeyInfoDer<'_>,
    algorithm: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let key = RawPublicKeyEntity::try_from(key).ok()?;
    let algorithms = super::provider().signature_verification_algorithms.all;
    Some(
        algorithms
            .iter()
            .filter(|it| it.signature_alg_id().as_ref() == algorithm)
            // The key says on which curve it is, so no more than one fits.
            .any(|it| key.verify_signature(*it, signed, signature).is_ok()),
    )
}

/// Returns the content of the outer AlgorithmIdentifier: what stands between the signed part and
/// the signature.
fn algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let mut outer = Reader::sequence(certificate)?;
    outer.expect(tag::SEQUENCE)?;
    outer.expect(tag::SEQUENCE)
}
