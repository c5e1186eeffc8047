//! Ed25519 keys, which sign heads so that caches and mirrors need not be trusted.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// Why a key or a signature was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system gave no randomness, or the library no key.
    #[error("cannot generate a signing key")]
    Generate,
    /// The bytes are no Ed25519 private key.
    #[error("signing key: expected an Ed25519 key in PKCS#8 or as a 32-byte seed")]
    Private,
    /// The text is no Ed25519 public key.
    #[error("verify key: expected 32 bytes as 64 hex digits or as base64")]
    Public,
    /// The signature is not this key's for this message.
    #[error("signature does not verify")]
    Signature,
}

/// A private key; the library wipes it when the last clone is dropped.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    /// Generates a key from the system's randomness.
    ///
    /// # Errors
    /// Returns [`KeyError::Generate`] when the system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(|pair| Self(Arc::new(pair))).map_err(|_| KeyError::Generate)
    }

    /// Reads a key from its PKCS#8 form or its 32-byte seed.
    ///
    /// # Errors
    /// Returns [`KeyError::Private`] for other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let pair = if bytes.len() == 32 {
            Ed25519KeyPair::from_seed_unchecked(bytes)
        } else {
            Ed25519KeyPair::from_pkcs8(bytes)
        };
        pair.map(|pair| Self(Arc::new(pair))).map_err(|_| KeyError::Private)
    }

    /// Returns the key in PKCS#8 for storage; the bytes are wiped when dropped.
    ///
    /// # Errors
    /// Returns [`KeyError::Private`] when the library cannot encode the key.
    pub fn to_pkcs8(&self) -> Result<impl AsRef<[u8]> + use<>, KeyError> {
        self.0.to_pkcs8().map_err(|_| KeyError::Private)
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// Returns [`KeyError::Private`] when the library cannot sign.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], KeyError> {
        let signature = self.0.try_sign(message).map_err(|_| KeyError::Private)?;
        signature.as_ref().try_into().map_err(|_| KeyError::Private)
    }

    /// Returns the public half.
    pub fn verify_key(&self) -> VerifyKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        VerifyKey(bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("verify_key", &self.verify_key()).finish_non_exhaustive()
    }
}

/// A public key: 32 bytes, written as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyKey([u8; 32]);

impl VerifyKey {
    /// Takes the 32 bytes of a public key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key from 64 hex digits or from padded base64.
    ///
    /// # Errors
    /// Returns [`KeyError::Public`] for any other text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let bytes = if text.len() == 64 { from_hex(text) } else { STANDARD.decode(text).ok() };
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(KeyError::Public)
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the key in base64.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Checks that `signature` is this key's for `message`.
    ///
    /// # Errors
    /// Returns [`KeyError::Signature`] when it is not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| KeyError::Signature)
    }
}

impl fmt::Display for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::hex(&self.0))
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyKey({self})")
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect()
}
