//! Certificates and keys in PEM text, as far as writes check them (reference gateway-1, section
//! A.6). Parsing is pure, which is why it may stand here; trust is the business of `pki`.
//!
//! Invariants:
//! - no private key is kept, shown or quoted: what leaves this module is public;
//! - an error is a fragment that fits behind "invalid certificate: " or "invalid key: ".

pub mod jwk;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::{PublicKey as ParsedKey, RSAPublicKey};

/// What writes ask of a certificate.
pub struct Certificate {
    /// Its key.
    pub key: PublicKey,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
    /// Whether its basic constraints make it a CA.
    pub is_ca: bool,
    /// The SHA-256 of its DER, in lower-case hex.
    pub digest: String,
}

/// A public key, comparable with others: its algorithm and its bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: String,
    bits: Vec<u8>,
}

impl PublicKey {
    /// Returns whether two keys are of one type, such as RSA.
    pub fn same_type(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm
    }

    fn of(info: &SubjectPublicKeyInfo<'_>) -> Self {
        Self {
            algorithm: info.algorithm.algorithm.to_id_string(),
            bits: info.subject_public_key.data.to_vec(),
        }
    }
}

/// The object identifier of RSA keys.
const RSA: &str = "1.2.840.113549.1.1.1";

/// Returns whether a text refers to a vault instead of holding a value.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

/// Reads the first certificate of a PEM text; further ones are its chain.
pub fn certificate(text: &str) -> Result<Certificate, String> {
    let mut first = None;
    for block in blocks(text) {
        let block = block?;
        if !is_certificate(&block.label) {
            continue;
        }
        let read = read_certificate(&block.contents)?;
        first.get_or_insert(read);
    }
    first.ok_or_else(|| "expected PEM text with a CERTIFICATE block".to_owned())
}

/// Returns how many certificates a PEM text has.
pub fn certificates(text: &str) -> usize {
    blocks(text).filter_map(Result::ok).filter(|block| is_certificate(&block.label)).count()
}

fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
}

fn read_certificate(der: &[u8]) -> Result<Certificate, String> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let constraints = parsed.basic_constraints().map_err(|error| error.to_string())?;
    Ok(Certificate {
        key: PublicKey::of(parsed.public_key()),
        not_after: parsed.validity().not_after.timestamp(),
        is_ca: constraints.is_some_and(|extension| extension.value.ca),
        digest: hex(digest(&SHA256, der).as_ref()),
    })
}

/// Reads a private key in PEM text (PKCS#8, PKCS#1 or SEC1) and returns its public half.
pub fn private_key(text: &str) -> Result<PublicKey, String> {
    for block in blocks(text) {
        let block = block?;
        let der: PrivateKeyDer<'_> = match block.label.as_str() {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(block.contents).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(block.contents).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(block.contents).into(),
            "ENCRYPTED PRIVATE KEY" => return Err("it is encrypted".to_owned()),
            _ => continue,
        };
        let unusable =
            || "expected RSA of 2048 to 8192 bits, EC P-256, P-384 or P-521, or Ed25519".to_owned();
        let key = any_supported_type(&der).map_err(|_| unusable())?;
        let info = key.public_key().ok_or_else(unusable)?;
        let (_, info) = SubjectPublicKeyInfo::from_der(&info).map_err(|_| unusable())?;
        return Ok(PublicKey::of(&info));
    }
    Err("expected PEM text with a PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block".to_owned())
}

/// Reads a public key in PEM text.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    for block in blocks(text) {
        let block = block?;
        match block.label.as_str() {
            "PUBLIC KEY" => {
                let info = SubjectPublicKeyInfo::from_der(&block.contents);
                let (_, info) = info.map_err(|error| error.to_string())?;
                return match info.parsed().map_err(|error| error.to_string())? {
                    ParsedKey::RSA(key) if key.try_exponent().is_err() => {
                        Err("its RSA exponent is out of range".to_owned())
                    }
                    _ => Ok(PublicKey::of(&info)),
                };
            }
            "RSA PUBLIC KEY" => {
                RSAPublicKey::from_der(&block.contents).map_err(|error| error.to_string())?;
                return Ok(PublicKey { algorithm: RSA.to_owned(), bits: block.contents });
            }
            _ => {}
        }
    }
    Err("expected PEM text with a PUBLIC KEY block".to_owned())
}

fn blocks(text: &str) -> impl Iterator<Item = Result<Pem, String>> + '_ {
    Pem::iter_from_buffer(text.as_bytes()).map(|block| block.map_err(|error| error.to_string()))
}

/// Returns the SHA-1 of a text in lower-case hex: the form in which Kong keeps passwords.
pub fn sha1_hex(text: &str) -> String {
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(crate) mod tests;
