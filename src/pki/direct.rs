//! Whether one certificate was signed by another, for shapes that webpki does not read.

use rustls_pki_types::CertificateDer;
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer as _, X509Certificate};

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
    let signature = &parsed.signature_value.data;
    let key = RawPublicKeyEntity::try_from(&issuer.spki).ok()?;
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
    let (outer, _) = sequence(certificate)?;
    let (_, rest) = sequence(outer)?;
    sequence(rest).map(|(content, _)| content)
}

/// Splits a DER SEQUENCE into its content and what follows it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&0x30, [first, rest @ ..]) = der.split_first()? else { return None };
    let (length, rest) = match *first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            let bytes = rest.get(..count).filter(|it| (1..=4).contains(&it.len()))?;
            let length = bytes.iter().fold(0_usize, |sum, it| sum << 8 | usize::from(*it));
            (length, rest.get(count..)?)
        }
    };
    rest.split_at_checked(length)
}
