//! Certificates and keys as a property gives them: a path, PEM text, or base64 of PEM text.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// PEM text that lies in a file or was given inline.
#[derive(Clone, Eq, PartialEq)]
pub enum Pem {
    /// A file that holds it.
    File(PathBuf),
    /// The text itself, not yet written to the prefix.
    Inline(String),
}

impl Pem {
    /// Returns the PEM text.
    ///
    /// # Errors
    /// Whatever reading the file fails with.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => std::fs::read(path),
            Self::Inline(text) => Ok(text.clone().into_bytes()),
        }
    }

    /// Returns the file, unless the text is still inline.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => out.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => out.write_str("Inline(******)"),
        }
    }
}

/// A certificate chain and its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PemPair {
    /// The chain, leaf first.
    pub cert: Pem,
    /// The private key of the leaf.
    pub key: Pem,
}

/// What PEM text must hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holds {
    Certificate,
    Key,
}

/// Reads a property's value; an existing file wins over an inline reading, as in Kong.
///
/// # Errors
/// Kong's text, with the value only where it can be no secret.
pub(super) fn parse(name: &str, value: &str, holds: Holds) -> Result<Pem, String> {
    let path = Path::new(value);
    let is_file = value.len() < 4096 && path.is_file();
    let found = if is_file {
        std::fs::read(path).ok().filter(|it| holds.accepts(it)).map(|_| Pem::File(absolute(path)))
    } else {
        inline(value, holds).map(Pem::Inline)
    };
    let what = match holds {
        Holds::Certificate => "certificate",
        Holds::Key => "key",
    };
    found.ok_or_else(|| format!("{name}: failed loading {what} from {}", shown(value)))
}

/// A node reads its settings again from wherever it stands then.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn inline(value: &str, holds: Holds) -> Option<String> {
    let packed: String = value.split_whitespace().collect();
    let decoders = [STANDARD, URL_SAFE, URL_SAFE_NO_PAD];
    let decoded = decoders.iter().filter_map(|it| it.decode(&packed).ok());
    decoded
        .filter_map(|it| String::from_utf8(it).ok())
        .chain([value.to_owned()])
        .find(|text| holds.accepts(text.as_bytes()))
}

impl Holds {
    fn accepts(self, text: &[u8]) -> bool {
        match self {
            Self::Certificate => {
                let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
                found.is_ok_and(|it| !it.is_empty() && it.iter().all(|der| is_sequence(der)))
            }
            Self::Key => {
                PrivateKeyDer::from_pem_slice(text).is_ok_and(|key| is_sequence(key.secret_der()))
            }
        }
    }
}

/// Returns whether DER bytes are one whole SEQUENCE; what it says is for the TLS layer to judge.
fn is_sequence(der: &[u8]) -> bool {
    let Some((0x30, [first, rest @ ..])) = der.split_first().map(|(tag, rest)| (*tag, rest)) else {
        return false;
    };
    if *first < 0x80 {
        return rest.len() == usize::from(*first);
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 || rest.len() < count {
        return false;
    }
    let length = rest[..count].iter().fold(0_usize, |sum, it| sum << 8 | usize::from(*it));
    rest.len() - count == length
}

/// Returns the value if it can only be a path; keys that were given inline must not be printed.
fn shown(value: &str) -> &str {
    let text_like = value.contains(['\n', '\r']) || value.contains("-----");
    let path_like = value.starts_with(['/', '.']) || value.len() <= 80;
    if text_like || !path_like || value.starts_with("LS0t") || value.len() > 1024 {
        "the inline text"
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shape that passes: one empty-bodied SEQUENCE of three bytes.
    fn certificate() -> String {
        let body = STANDARD.encode([0x30, 3, 1, 1, 0]);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn text_base64_and_base64url_are_all_read() {
        for value in [
            certificate(),
            STANDARD.encode(certificate()),
            URL_SAFE.encode(certificate()),
            URL_SAFE_NO_PAD.encode(certificate()),
        ] {
            let found = parse("cluster_cert", &value, Holds::Certificate);
            assert_eq!(found, Ok(Pem::Inline(certificate())), "{value}");
        }
    }

    #[test]
    fn a_missing_file_is_named_but_an_inline_key_is_not_shown() {
        let message = parse("cluster_cert", "/no/such", Holds::Certificate).unwrap_err();
        assert_eq!(message, "cluster_cert: failed loading certificate from /no/such");
        let broken = STANDARD.encode("-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE");
        let message = parse("cluster_cert_key", &broken, Holds::Key).unwrap_err();
        assert_eq!(message, "cluster_cert_key: failed loading key from the inline text");
    }

    #[test]
    fn an_existing_file_of_garbage_is_refused() {
        let value = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(parse("cluster_cert", value, Holds::Certificate).is_err());
    }

    #[test]
    fn a_certificate_is_no_key_and_a_truncated_one_is_nothing() {
        assert!(parse("x", &certificate(), Holds::Key).is_err());
        assert!(!is_sequence(&[0x30, 5, 0]));
        assert!(!is_sequence(&[0x30, 0x80, 0]));
        assert!(!is_sequence(&[]));
    }

    #[test]
    fn debug_hides_inline_text() {
        assert_eq!(format!("{:?}", Pem::Inline("secret".to_owned())), "Inline(******)");
    }
}
