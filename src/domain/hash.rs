//! The two hashes that travel through the product, as types that cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 lower-case hexadecimal characters")]
pub struct ParseHashError;

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Returns the hash as 64 lower-case hexadecimal characters.
            pub fn to_hex(self) -> String {
                hex_text(&hex(&self.0)).to_owned()
            }

            /// Returns the hash as 64 lower-case hexadecimal characters, without allocating.
            pub fn hex(&self) -> [u8; 64] {
                hex(&self.0)
            }

            /// Returns the first 12 characters, for logs.
            pub fn short(self) -> String {
                hex_text(&hex(&self.0)).get(..12).unwrap_or_default().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(hex_text(&hex(&self.0)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseHashError;

            fn from_str(text: &str) -> Result<Self, ParseHashError> {
                decode_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash_type! {
    /// The name of a snapshot: blake3 of the root of its hash tree.
    ConfigHash
}

hash_type! {
    /// The name of one node of a hash tree: blake3 of the node's bytes.
    NodeHash
}

hash_type! {
    /// The hash of one row of the log, chained over the row before it.
    EventHash
}

/// The hash that the first event of every log names as its predecessor.
pub const GENESIS: EventHash = EventHash([0; 32]);

/// Writes bytes as hexadecimal digits from a table: formatting each byte costs ten times as much.
fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut text = [b'0'; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

fn hex_text(digits: &[u8; 64]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

fn decode_hex(text: &str) -> Result<[u8; 32], ParseHashError> {
    let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| ParseHashError)?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return Err(ParseHashError) };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Result<u8, ParseHashError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ParseHashError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_what_it_prints() {
        let hash = ConfigHash(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(hash.to_hex().parse(), Ok(hash));
    }

    #[test]
    fn upper_case_short_and_foreign_characters_are_refused() {
        for text in ["", "ab", &"G".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
            assert_eq!(text.parse::<ConfigHash>(), Err(ParseHashError), "{text}");
        }
    }
}
