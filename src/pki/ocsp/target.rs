//! The certificate in question: where to ask, what to ask, and how answers name it.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::super::der::{Reader, element, tag};
use super::super::x509::Facts;
use super::error::Unchecked;

/// 1.3.14.3.2.26.
const OID_SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];

/// 2.16.840.1.101.3.4.2.1.
const OID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// A certificate and who issued it.
#[derive(Debug)]
pub struct Target {
    /// The URL of its responder, if it names one: preferably one that can be asked (`http://`).
    pub responder: Option<String>,
    /// What is known of the issuer.
    pub(super) issuer: Facts,
    /// The bits of the issuer's key.
    issuer_key: Vec<u8>,
    /// The issuer's name as the certificate has it, in DER.
    issuer_name: Vec<u8>,
    /// The content of the serial's INTEGER.
    serial: Vec<u8>,
}

impl Target {
    /// Reads a certificate and its issuer.
    ///
    /// # Errors
    /// Which of the two cannot be read.
    pub fn read(leaf: &[u8], issuer: &[u8]) -> Result<Self, Unchecked> {
        let unreadable = |_| Unchecked::Request("the client certificate cannot be read");
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(unreadable)?;
        let unreadable = "the issuer's certificate cannot be read";
        let facts = Facts::parse(issuer).map_err(|_| Unchecked::Request(unreadable))?;
        let key = key_bits(&facts.spki).ok_or(Unchecked::Request(unreadable))?.to_vec();
        Ok(Self {
            responder: responder(&leaf),
            issuer: facts,
            issuer_key: key,
            issuer_name: leaf.issuer().as_raw().to_vec(),
            serial: leaf.raw_serial().to_vec(),
        })
    }

    /// Returns the request for the status of the certificate, in DER: unsigned and without a nonce,
    /// since responders answer with statements that were signed in advance.
    pub fn request(&self) -> Vec<u8> {
        let algorithm = [element(tag::OBJECT_ID, OID_SHA1), element(tag::NULL, &[])].concat();
        let id = [
            element(tag::SEQUENCE, &algorithm),
            element(tag::OCTET_STRING, &hash(&SHA1_FOR_LEGACY_USE_ONLY, &self.issuer_name)),
            element(tag::OCTET_STRING, &hash(&SHA1_FOR_LEGACY_USE_ONLY, &self.issuer_key)),
            element(tag::INTEGER, &self.serial),
        ];
        // CertID, Request, requestList, TBSRequest, OCSPRequest.
        (0..5).fold(id.concat(), |content, _| element(tag::SEQUENCE, &content))
    }

    /// Tells whether a CertID (its content) names the certificate; nothing when it is malformed.
    pub fn is_named_by(&self, id: &[u8]) -> Option<bool> {
        let mut id = Reader::new(id);
        let algorithm = Reader::new(id.expect(tag::SEQUENCE)?).expect(tag::OBJECT_ID)?;
        let name = id.expect(tag::OCTET_STRING)?;
        let key = id.expect(tag::OCTET_STRING)?;
        let serial = id.expect(tag::INTEGER)?;
        let algorithm = match algorithm {
            OID_SHA1 => &SHA1_FOR_LEGACY_USE_ONLY,
            OID_SHA256 => &SHA256,
            // Some other hash, in which nobody asked.
            _ => return Some(false),
        };
        Some(
            serial == self.serial
                && name == hash(algorithm, &self.issuer_name)
                && key == hash(algorithm, &self.issuer_key),
        )
    }
}

/// Returns the hash by which a ResponderID names a key.
pub(super) fn key_hash(key: &Facts) -> Option<Vec<u8>> {
    key_bits(&key.spki).map(|bits| hash(&SHA1_FOR_LEGACY_USE_ONLY, bits))
}

/// Tells whether a certificate allows its key to sign answers for who issued it.
pub(super) fn may_sign(certificate: &CertificateDer<'_>) -> Option<bool> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let purposes = certificate.extended_key_usage().ok()?;
    Some(purposes.is_some_and(|extension| extension.value.ocsp_signing))
}

/// Returns the key's bits of a SubjectPublicKeyInfo in DER.
fn key_bits(spki: &[u8]) -> Option<&[u8]> {
    let mut parts = Reader::sequence(spki)?;
    parts.expect(tag::SEQUENCE)?;
    bits(parts.expect(tag::BIT_STRING)?)
}

/// Returns the bytes of a BIT STRING (its content) that has whole bytes.
pub(super) fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}

fn hash(algorithm: &'static Algorithm, bytes: &[u8]) -> Vec<u8> {
    digest(algorithm, bytes).as_ref().to_vec()
}

fn responder(certificate: &X509Certificate<'_>) -> Option<String> {
    let access = certificate.extensions().iter().filter_map(|it| match it.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    });
    let mut first = None;
    for description in access.flat_map(|access| access.iter()) {
        if description.access_method != OID_PKIX_ACCESS_DESCRIPTOR_OCSP {
            continue;
        }
        let GeneralName::URI(url) = description.access_location else { continue };
        if url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            return Some(url.to_owned());
        }
        first.get_or_insert(url);
    }
    first.map(str::to_owned)
}
