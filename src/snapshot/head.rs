//! Heads: which snapshot is in force, signed, so that who carries one need not be trusted.
//!
//! A rollback is an event like any other: a newer seq with an old config hash, so "newer wins"
//! covers it. A seq only falls if the log itself was put back, from a backup for instance; the
//! operator then begins a new epoch. Epoch and seq are both signed and ordered in this order, so
//! nobody without the key can bring an old head back.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;

/// Says which snapshot is in force at a position of a cluster's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Whose log.
    pub cluster_id: Uuid,
    /// How often the log was put back; only then may a seq be lower than before.
    pub epoch: u64,
    /// The position.
    pub seq: Seq,
    /// The snapshot.
    pub config_hash: ConfigHash,
}

/// A head with the control plane's signature over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    /// What is signed.
    pub head: Head,
    /// The signature over [`Head::bytes_to_sign`].
    pub signature: Signature,
}

/// An Ed25519 signature; text and JSON have it as 128 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// What a head is to one who has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It comes after, or there was none.
    Newer,
    /// It is the same one.
    Same,
}

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Another cluster's.
    #[error("head is of cluster {found}, expected {expected}")]
    ForeignCluster {
        /// Whose it should be.
        expected: Uuid,
        /// Whose it is.
        found: Uuid,
    },
    /// Not signed by the expected key.
    #[error("signature of head {0} is not valid")]
    Signature(Seq),
    /// Older than the one that is known.
    #[error("head {found} of epoch {found_epoch} is older than {known} of epoch {known_epoch}")]
    Stale {
        /// The seq that is known.
        known: Seq,
        /// Its epoch.
        known_epoch: u64,
        /// The seq that came.
        found: Seq,
        /// Its epoch.
        found_epoch: u64,
    },
    /// Two snapshots for one position: two control planes write, or a key was stolen.
    #[error("head {seq} was config {known}, now it is said to be {found}")]
    Contradiction {
        /// The position.
        seq: Seq,
        /// The snapshot that is known.
        known: ConfigHash,
        /// The snapshot that came.
        found: ConfigHash,
    },
}

impl Head {
    /// Returns the canonical bytes that the signature covers: fixed lines, format first.
    pub fn bytes_to_sign(&self) -> Vec<u8> {
        let Self { cluster_id, epoch, seq, config_hash } = self;
        format!("hybridctl-head 1\n{cluster_id}\n{epoch}\n{seq}\n{config_hash}\n").into_bytes()
    }

    /// Returns what this head is to one who knows `known`.
    ///
    /// # Errors
    ///
    /// It is of another cluster, older, or contradicts what is known.
    pub fn follows(&self, known: Option<&Self>) -> Result<Freshness, HeadError> {
        let Some(known) = known else { return Ok(Freshness::Newer) };
        if self.cluster_id != known.cluster_id {
            let (expected, found) = (known.cluster_id, self.cluster_id);
            return Err(HeadError::ForeignCluster { expected, found });
        }
        match (self.epoch, self.seq).cmp(&(known.epoch, known.seq)) {
            std::cmp::Ordering::Greater => Ok(Freshness::Newer),
            std::cmp::Ordering::Equal if self.config_hash == known.config_hash => {
                Ok(Freshness::Same)
            }
            std::cmp::Ordering::Equal => Err(HeadError::Contradiction {
                seq: self.seq,
                known: known.config_hash,
                found: self.config_hash,
            }),
            std::cmp::Ordering::Less => Err(HeadError::Stale {
                known: known.seq,
                known_epoch: known.epoch,
                found: self.seq,
                found_epoch: self.epoch,
            }),
        }
    }
}

impl SignedHead {
    /// Signs a head; `sign` is the control plane's key.
    ///
    /// # Errors
    ///
    /// Whatever `sign` fails with.
    pub fn sign<E>(head: Head, sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>) -> Result<Self, E> {
        Ok(Self { head, signature: Signature(sign(&head.bytes_to_sign())?) })
    }

    /// Returns the head if it is of the expected cluster and `verify`, which is given message and
    /// signature, says that the signature is good.
    ///
    /// # Errors
    ///
    /// [`HeadError::ForeignCluster`] or [`HeadError::Signature`].
    pub fn verify(
        &self,
        cluster_id: Uuid,
        verify: impl FnOnce(&[u8], &[u8]) -> bool,
    ) -> Result<&Head, HeadError> {
        let (expected, found) = (cluster_id, self.head.cluster_id);
        if expected != found {
            return Err(HeadError::ForeignCluster { expected, found });
        }
        let good = verify(&self.head.bytes_to_sign(), &self.signature.0);
        if good { Ok(&self.head) } else { Err(HeadError::Signature(self.head.seq)) }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        // Two hashes' worth of digits.
        let halves = text.split_at_checked(64).and_then(|(high, low)| {
            let half = |text: &str| text.parse::<ConfigHash>().ok();
            Some([half(high)?.0, half(low)?.0])
        });
        let bytes = halves.and_then(|halves| halves.as_flattened().try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            serde::de::Error::custom("expected 128 lower-case hexadecimal characters")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(epoch: u64, seq: u64, hash: u8) -> Head {
        let cluster_id = Uuid::from_u128(1);
        Head { cluster_id, epoch, seq: Seq(seq), config_hash: ConfigHash([hash; 32]) }
    }

    #[test]
    fn newer_wins_and_older_never_does() {
        let known = head(1, 10, 1);
        assert_eq!(head(0, 1, 1).follows(None), Ok(Freshness::Newer));
        assert_eq!(known.follows(Some(&known)), Ok(Freshness::Same));
        // A rollback: an old hash at a newer position.
        assert_eq!(head(1, 11, 0).follows(Some(&known)), Ok(Freshness::Newer));
        // The log was put back.
        assert_eq!(head(2, 3, 0).follows(Some(&known)), Ok(Freshness::Newer));
        for stale in [head(1, 9, 1), head(0, 99, 1)] {
            assert!(matches!(stale.follows(Some(&known)), Err(HeadError::Stale { .. })));
        }
        let other = head(1, 10, 2).follows(Some(&known));
        assert!(matches!(other, Err(HeadError::Contradiction { .. })));
        let foreign = Head { cluster_id: Uuid::from_u128(2), ..head(9, 9, 9) };
        assert!(matches!(foreign.follows(Some(&known)), Err(HeadError::ForeignCluster { .. })));
    }

    /// Stands for a signature scheme: a keyed hash.
    fn mac(message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        blake3::Hasher::new_keyed(&[9; 32]).update(message).finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn every_field_is_signed() {
        let cluster = Uuid::from_u128(1);
        let signed = SignedHead::sign(head(1, 10, 1), |m| Ok::<_, ()>(mac(m))).unwrap();
        let verify = |message: &[u8], signature: &[u8]| mac(message) == signature;
        assert_eq!(signed.verify(cluster, verify), Ok(&signed.head));
        for head in [head(2, 10, 1), head(1, 11, 1), head(1, 10, 2)] {
            let forged = SignedHead { head, ..signed };
            assert_eq!(forged.verify(cluster, verify), Err(HeadError::Signature(head.seq)));
        }
        let foreign = signed.verify(Uuid::nil(), verify);
        assert!(matches!(foreign, Err(HeadError::ForeignCluster { .. })));
    }

    #[test]
    fn a_signed_head_reads_back_from_json_and_its_bytes_never_move() {
        let signed = SignedHead::sign(head(1, 10, 1), |m| Ok::<_, ()>(mac(m))).unwrap();
        let text = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<SignedHead>(&text).unwrap(), signed);
        assert!(
            serde_json::from_str::<SignedHead>(
                &text.replace("\"signature\":\"", "\"signature\":\"0")
            )
            .is_err()
        );
        let bytes = String::from_utf8(signed.head.bytes_to_sign()).unwrap();
        let expected = format!(
            "hybridctl-head 1\n00000000-0000-0000-0000-000000000001\n1\n10\n{}\n",
            "01".repeat(32)
        );
        assert_eq!(bytes, expected);
    }
}
