//! Signed heads: which config is in force at which position, said so that anyone may carry it.
//!
//! A head is the only thing that a data plane believes on a signature; content is believed on its
//! hash. Positions only grow, a rollback included, so an older position is a replay and refused.
//!
//! What a data plane is to get also depends on decisions of operators (a freeze, a pin, a wave of a
//! rollout), which may send it back to an older position. Those are counted by `revision`, and heads
//! are ordered by (revision, position): under one revision positions only grow, and whoever has
//! seen a revision believes no head of an older one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;

/// What is put before the signed bytes, so that the key signs nothing else by accident.
const CONTEXT: &[u8] = b"hybridctl head v1\0";

/// The same for heads with a revision.
const CONTEXT_REVISED: &[u8] = b"hybridctl head v3\0";

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
    /// The last decision that changed what data planes get; 0 before the first one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// The ed25519 signature over [`SignedHead::message`].
    pub signature: Signature,
}

/// An ed25519 signature; 128 hexadecimal characters in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl SignedHead {
    /// Returns the bytes that a head's signature covers: context, cluster id, revision if there is
    /// one, position, hash. Numbers are 8 bytes, big-endian.
    pub fn message(cluster_id: Uuid, revision: u64, seq: Seq, config_hash: ConfigHash) -> Vec<u8> {
        let mut message = Vec::with_capacity(CONTEXT.len() + 16 + 8 + 8 + 32);
        message.extend_from_slice(if revision == 0 { CONTEXT } else { CONTEXT_REVISED });
        message.extend_from_slice(cluster_id.as_bytes());
        if revision != 0 {
            message.extend_from_slice(&revision.to_be_bytes());
        }
        message.extend_from_slice(&seq.0.to_be_bytes());
        message.extend_from_slice(&config_hash.0);
        message
    }

    /// Returns the bytes that this head's signature has to cover.
    pub fn signed_message(&self) -> Vec<u8> {
        Self::message(self.cluster_id, self.revision, self.seq, self.config_hash)
    }

    /// Returns whether this head may follow the one served: by revision and position it is newer,
    /// or it is the same head said again.
    pub fn may_follow(&self, served: Option<(u64, Seq, ConfigHash)>) -> bool {
        served.is_none_or(|(revision, seq, hash)| {
            let (this, other) = ((self.revision, self.seq), (revision, seq));
            this > other || (this == other && self.config_hash == hash)
        })
    }
}

// Serde hands the field over by reference.
fn is_zero(revision: &u64) -> bool {
    *revision == 0
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
            revision: 0,
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
        let revised = SignedHead { revision: 1, ..head(3, 4) };
        for changed in [head(4, 4), head(3, 5), other, revised] {
            assert_ne!(changed.signed_message(), one);
        }
    }

    #[test]
    fn positions_only_grow() {
        let served = Some((0, Seq(3), ConfigHash([4; 32])));
        assert!(head(4, 1).may_follow(served));
        assert!(head(3, 4).may_follow(served), "said again");
        assert!(!head(3, 5).may_follow(served), "another log");
        assert!(!head(2, 4).may_follow(served), "a replay");
        assert!(head(0, 0).may_follow(None));
    }

    #[test]
    fn a_revision_goes_before_the_position() {
        let revised = |revision, seq, hash| SignedHead { revision, ..head(seq, hash) };
        let served = Some((2, Seq(5), ConfigHash([5; 32])));
        assert!(revised(3, 1, 1).may_follow(served), "decided anew");
        assert!(revised(2, 6, 6).may_follow(served));
        assert!(!revised(2, 4, 4).may_follow(served));
        assert!(!revised(1, 9, 9).may_follow(served), "a replay");
        assert!(!head(9, 9).may_follow(served), "older than any decision");
        assert_eq!(serde_json::to_value(head(1, 1)).unwrap().get("revision"), None);
    }
}
