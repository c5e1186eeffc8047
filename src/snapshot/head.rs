//! Signed heads: which config is in force at which position, said so that anyone may carry it.
//!
//! A head is the only thing that a data plane believes on a signature; content is believed on its
//! hash. Positions only grow, a rollback included, so an older position is a replay and refused.
//! A database that comes back from an older copy begins again at an older position. Then its operator
//! begins a new epoch: epochs go before positions, and they too only grow.
//!
//! What a data plane is to get also depends on decisions of operators (a freeze, a pin, a wave of a
//! rollout), which may send it back to an older position. Those are counted by `revision`, and heads
//! are ordered by (epoch, revision, position): under one revision positions only grow, and whoever
//! has seen a revision believes no head of an older one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::pki::ed25519::{KeyError, SigningKey};

/// What is put before the signed bytes, so that the key signs nothing else by accident.
const CONTEXT: &[u8] = b"hybridctl head v1\0";

/// The same for heads of a later epoch than the first, whose number is signed too.
const CONTEXT_OF_EPOCH: &[u8] = b"hybridctl head v2\0";

/// The same for heads with a revision, which is signed after the epoch.
const CONTEXT_REVISED: &[u8] = b"hybridctl head v3\0";

/// The length of an ed25519 signature, in bytes.
const SIGNATURE_BYTES: usize = 64;

/// The config in force at a log position, signed by its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// Whose log.
    pub cluster_id: Uuid,
    /// Which life of the log: it goes before the position. 0, the first one, is not written.
    #[serde(default, skip_serializing_if = "is_first_epoch")]
    pub epoch: u64,
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

/// Who signs the heads of a log.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Whose log.
    pub cluster_id: Uuid,
    /// Which life of it.
    pub epoch: u64,
    /// The cluster's key.
    pub key: SigningKey,
}

impl Signer {
    /// Signs what is in force at a position.
    ///
    /// # Errors
    ///
    /// The key does not sign.
    pub fn sign(&self, seq: Seq, config_hash: ConfigHash) -> Result<SignedHead, KeyError> {
        self.sign_revised(0, seq, config_hash)
    }

    /// Signs what some data planes are to get by decisions up to a revision.
    ///
    /// # Errors
    ///
    /// The key does not sign.
    pub fn sign_revised(
        &self,
        revision: u64,
        seq: Seq,
        config_hash: ConfigHash,
    ) -> Result<SignedHead, KeyError> {
        let Self { cluster_id, epoch, key } = self;
        let (cluster_id, epoch) = (*cluster_id, *epoch);
        let message = SignedHead::message(cluster_id, (epoch, revision), seq, config_hash);
        let signature = Signature(key.sign(&message)?);
        Ok(SignedHead { cluster_id, epoch, seq, config_hash, revision, signature })
    }
}

/// Returns whether an epoch goes without saying, as it did before there were any.
pub fn is_first_epoch(epoch: &u64) -> bool {
    *epoch == 0
}

/// An ed25519 signature; 128 hexadecimal characters in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl SignedHead {
    /// Returns the bytes that a head's signature covers: context, cluster id, epoch and revision
    /// as far as the context tells, position, hash; numbers as 8 bytes big-endian.
    fn message(
        cluster_id: Uuid,
        (epoch, revision): (u64, u64),
        seq: Seq,
        config_hash: ConfigHash,
    ) -> Vec<u8> {
        let (context, numbers): (_, &[u64]) = match (epoch, revision) {
            (0, 0) => (CONTEXT, &[]),
            (_, 0) => (CONTEXT_OF_EPOCH, &[epoch]),
            (_, _) => (CONTEXT_REVISED, &[epoch, revision]),
        };
        let mut message = Vec::with_capacity(CONTEXT.len() + 16 + 8 + 8 + 8 + 32);
        message.extend_from_slice(context);
        message.extend_from_slice(cluster_id.as_bytes());
        for number in numbers {
            message.extend_from_slice(&number.to_be_bytes());
        }
        message.extend_from_slice(&seq.0.to_be_bytes());
        message.extend_from_slice(&config_hash.0);
        message
    }

    /// Returns the bytes that this head's signature has to cover.
    pub fn signed_message(&self) -> Vec<u8> {
        let numbers = (self.epoch, self.revision);
        Self::message(self.cluster_id, numbers, self.seq, self.config_hash)
    }

    /// Returns whether this head may follow the one served, of which epoch, revision, position and
    /// config are given: it is newer, or the same head said again.
    pub fn may_follow(&self, served: Option<(u64, u64, Seq, ConfigHash)>) -> bool {
        served.is_none_or(|(epoch, revision, seq, hash)| {
            let ours = (self.epoch, self.revision, self.seq);
            let theirs = (epoch, revision, seq);
            ours > theirs || (ours == theirs && self.config_hash == hash)
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
            epoch: 0,
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
        let (later, latest) =
            (SignedHead { epoch: 1, ..head(3, 4) }, SignedHead { epoch: 2, ..head(3, 4) });
        for changed in [head(4, 4), head(3, 5), other, later, latest, revised] {
            assert_ne!(changed.signed_message(), one);
        }
        assert_ne!(later.signed_message(), latest.signed_message());
    }

    #[test]
    fn the_first_epoch_is_as_heads_were_before_there_were_any() {
        let first = head(3, 4);
        assert!(!serde_json::to_string(&first).unwrap().contains("epoch"));
        let mut message = b"hybridctl head v1\0".to_vec();
        message.extend_from_slice(first.cluster_id.as_bytes());
        message.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 3]);
        message.extend_from_slice(&[4; 32]);
        assert_eq!(first.signed_message(), message);

        let second = SignedHead { epoch: 1, ..first };
        let text = serde_json::to_string(&second).unwrap();
        assert_eq!(serde_json::from_str::<SignedHead>(&text).unwrap(), second);
    }

    #[test]
    fn an_epoch_goes_before_positions() {
        let second = |seq, hash| SignedHead { epoch: 1, ..head(seq, hash) };
        let (first, later) =
            ((0, 0, Seq(9), ConfigHash([9; 32])), (1, 0, Seq(3), ConfigHash([4; 32])));
        assert!(second(3, 4).may_follow(Some(first)), "a copy of before");
        assert!(!head(3, 4).may_follow(Some(first)));
        assert!(!head(10, 4).may_follow(Some(later)), "what was lost stays so");
        assert!(second(3, 4).may_follow(Some(later)) && second(4, 1).may_follow(Some(later)));
        assert!(!second(3, 5).may_follow(Some(later)));
    }

    #[test]
    fn positions_only_grow() {
        let served = Some((0, 0, Seq(3), ConfigHash([4; 32])));
        assert!(head(4, 1).may_follow(served));
        assert!(head(3, 4).may_follow(served), "said again");
        assert!(!head(3, 5).may_follow(served), "another log");
        assert!(!head(2, 4).may_follow(served), "a replay");
        assert!(head(0, 0).may_follow(None));
    }

    #[test]
    fn a_revision_goes_before_the_position() {
        let revised = |revision, seq, hash| SignedHead { revision, ..head(seq, hash) };
        let served = Some((0, 2, Seq(5), ConfigHash([5; 32])));
        assert!(revised(3, 1, 1).may_follow(served), "decided anew");
        assert!(revised(2, 6, 6).may_follow(served));
        assert!(!revised(2, 4, 4).may_follow(served));
        assert!(!revised(1, 9, 9).may_follow(served), "a replay");
        assert!(!head(9, 9).may_follow(served), "older than any decision");
        assert!(SignedHead { epoch: 1, ..head(1, 1) }.may_follow(served), "a new epoch");
        assert_eq!(serde_json::to_value(head(1, 1)).unwrap().get("revision"), None);
    }
}
