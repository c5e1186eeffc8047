//! Signed heads: which config is in force at which position, said so that anyone may carry it.
//!
//! A head is the only thing that a data plane believes on a signature; content is believed on its
//! hash. Positions only grow, a rollback included, so an older position is a replay and refused.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;

/// What is put before the signed bytes, so that the key signs nothing else by accident.
const CONTEXT: &[u8] = b"hybridctl head v1\0";

/// The length of an ed25519 signature, in bytes.
const SIGNATURE_BYTES: usize = 64;

/// The config in force at a log position, signed by its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// Whose log.
    pub cluster_id: Uuid,
    /// The position.
    pub seq: Seq,
    /// The config.
    pub config_hash: ConfigHash,
    /// The ed25519 signature over [`SignedHead::message`].
    pub signature: Signature,
}

/// An ed25519 signature; 128 hexadecimal characters in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl SignedHead {
    /// Returns the bytes that a head's signature covers: context, cluster id, position as 8 bytes
    /// big-endian, hash.
    pub fn message(cluster_id: Uuid, seq: Seq, config_hash: ConfigHash) -> Vec<u8> {
        let mut message = Vec::with_capacity(CONTEXT.len() + 16 + 8 + 32);
        message.extend_from_slice(CONTEXT);
        message.extend_from_slice(cluster_id.as_bytes());
        message.extend_from_slice(&seq.0.to_be_bytes());
        message.extend_from_slice(&config_hash.0);
        message
    }

    /// Returns the bytes that this head's signature has to cover.
    pub fn signed_message(&self) -> Vec<u8> {
        Self::message(self.cluster_id, self.seq, self.config_hash)
    }

    /// Returns whether this head may follow the one served: its position is newer, or it is the
    /// same head said again.
    pub fn may_follow(&self, served: Option<(Seq, ConfigHash)>) -> bool {
        served.is_none_or(|(seq, hash)| {
            self.seq > seq || (self.seq == seq && self.config_hash == hash)
        })
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signature")
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&hex)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let expected = || serde::de::Error::custom("expected 128 hexadecimal characters");
        if text.len() != SIGNATURE_BYTES * 2 || !text.is_ascii() {
            return Err(expected());
        }
        let mut bytes = [0; SIGNATURE_BYTES];
        for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
            let digits = text.get(at..at + 2).ok_or_else(expected)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| expected())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64, hash: u8) -> SignedHead {
        SignedHead {
            cluster_id: Uuid::from_u128(1),
            seq: Seq(seq),
            config_hash: ConfigHash([hash; 32]),
            signature: Signature([7; 64]),
        }
    }

    #[test]
    fn a_head_reads_back_what_it_writes() {
        let text = serde_json::to_string(&head(3, 4)).unwrap();
        assert_eq!(serde_json::from_str::<SignedHead>(&text).unwrap(), head(3, 4));
        assert!(serde_json::from_str::<SignedHead>(&text.replace("0707", "07é7")).is_err());
        assert!(serde_json::from_str::<SignedHead>(&text.replace("0707", "zz07")).is_err());
    }

    #[test]
    fn every_part_is_signed() {
        let one = head(3, 4).signed_message();
        let mut other = head(3, 4);
        other.cluster_id = Uuid::from_u128(2);
        for changed in [head(4, 4), head(3, 5), other] {
            assert_ne!(changed.signed_message(), one);
        }
    }

    #[test]
    fn positions_only_grow() {
        let served = Some((Seq(3), ConfigHash([4; 32])));
        assert!(head(4, 1).may_follow(served));
        assert!(head(3, 4).may_follow(served), "said again");
        assert!(!head(3, 5).may_follow(served), "another log");
        assert!(!head(2, 4).may_follow(served), "a replay");
        assert!(head(0, 0).may_follow(None));
    }
}
