//! Rows: an event as the log stores it, and the chain of hashes over them.
//!
//! The hash of a row is blake3 over its other columns in this order: `format`, `seq`, `at`,
//! `actor`, `request_id`, `source`, `kind`, `reason`, `changes`, `config_hash`, `prev_hash`.
//! Each column is written as its length (8 bytes, big endian) followed by its bytes. Bytes of a
//! number are 8, big endian (`at` is two's complement); of a text its UTF-8; of a hash its 32; an
//! absent `reason` is no byte, a present one is a byte 1 and its UTF-8. The first row's
//! `prev_hash` is 32 zero bytes. This layout holds for every format: a new format number may give
//! `changes` another meaning, never the hash.

use chrono::{DateTime, Utc};

use crate::domain::catalog::Catalog;
use crate::domain::event::{
    Change, ChangesError, Event, EventKind, Origin, Seq, decode_changes, encode_changes,
};
use crate::domain::hash::{ConfigHash, EventHash};

use super::Tip;
use super::checkpoint::Trace;

/// The format that this program writes.
pub const FORMAT: u64 = 1;

/// One row of the table `events`: an event whose changes are still text.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The format of `changes`.
    pub format: u64,
    /// The position.
    pub seq: Seq,
    /// When, in microseconds since 1970.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// The id of the request.
    pub request_id: String,
    /// Through what.
    pub source: String,
    /// The name of an [`EventKind`].
    pub kind: String,
    /// Why.
    pub reason: Option<String>,
    /// The changes as JSON.
    pub changes: String,
    /// The config that it led to.
    pub config_hash: ConfigHash,
    /// The hash of the row before.
    pub prev_hash: EventHash,
    /// The hash of this row.
    pub hash: EventHash,
}

/// Why a row cannot be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// It was written by a newer version.
    #[error("event {seq} has format {format}, this version reads up to {FORMAT}")]
    Newer {
        /// The position.
        seq: Seq,
        /// The format it has.
        format: u64,
    },
    /// Its kind is none of ours.
    #[error("event {seq} has an unknown kind {kind:?}")]
    Kind {
        /// The position.
        seq: Seq,
        /// The kind it has.
        kind: String,
    },
    /// Its time is out of bounds.
    #[error("event {seq} has an impossible time")]
    At {
        /// The position.
        seq: Seq,
    },
    /// Its changes cannot be read.
    #[error("changes of event {seq} cannot be read")]
    Changes {
        /// The position.
        seq: Seq,
        /// Why.
        #[source]
        source: ChangesError,
    },
}

impl Row {
    /// Makes the row that follows `prev`.
    pub fn seal(
        prev: Tip,
        at: DateTime<Utc>,
        origin: &Origin,
        changes: &[Change],
        config_hash: ConfigHash,
    ) -> Self {
        let mut row = Self {
            format: FORMAT,
            seq: prev.seq.next(),
            at: at.timestamp_micros(),
            actor: origin.actor.clone(),
            request_id: origin.request_id.clone(),
            source: origin.source.clone(),
            kind: origin.kind.name().to_owned(),
            reason: origin.reason.clone(),
            changes: encode_changes(changes),
            config_hash,
            prev_hash: prev.hash,
            hash: prev.hash,
        };
        row.hash = row.digest();
        row
    }

    /// Returns the hash that the row should have.
    pub fn digest(&self) -> EventHash {
        let mut hasher = blake3::Hasher::new();
        let mut column = |parts: &[&[u8]]| {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            hasher.update(&(len as u64).to_be_bytes());
            for part in parts {
                hasher.update(part);
            }
        };
        column(&[&self.format.to_be_bytes()]);
        column(&[&self.seq.0.to_be_bytes()]);
        column(&[&self.at.to_be_bytes()]);
        column(&[self.actor.as_bytes()]);
        column(&[self.request_id.as_bytes()]);
        column(&[self.source.as_bytes()]);
        column(&[self.kind.as_bytes()]);
        match &self.reason {
            None => column(&[]),
            Some(reason) => column(&[&[1], reason.as_bytes()]),
        }
        column(&[self.changes.as_bytes()]);
        column(&[&self.config_hash.0]);
        column(&[&self.prev_hash.0]);
        EventHash(*hasher.finalize().as_bytes())
    }

    /// Returns the end of a log that ends with this row.
    pub fn tip(&self) -> Tip {
        Tip { seq: self.seq, hash: self.hash }
    }

    /// Returns what is left of it when it is gone.
    pub fn trace(&self) -> Trace {
        Trace { seq: self.seq, at: self.at, hash: self.hash, config_hash: self.config_hash }
    }

    /// Returns when it was accepted.
    pub fn time(&self) -> Result<DateTime<Utc>, RowError> {
        DateTime::from_timestamp_micros(self.at).ok_or(RowError::At { seq: self.seq })
    }

    /// Decodes the changes, whatever the format.
    pub fn decode_changes(&self, catalog: &Catalog) -> Result<Vec<Change>, RowError> {
        let seq = self.seq;
        match self.format {
            // An older format gets its upcast here: text of that format to text of the next.
            FORMAT => decode_changes(catalog, &self.changes)
                .map_err(|source| RowError::Changes { seq, source }),
            format => Err(RowError::Newer { seq, format }),
        }
    }

    /// Decodes the row.
    pub fn event(&self, catalog: &Catalog) -> Result<Event, RowError> {
        let kind = EventKind::from_name(&self.kind)
            .ok_or_else(|| RowError::Kind { seq: self.seq, kind: self.kind.clone() })?;
        Ok(Event {
            seq: self.seq,
            at: self.time()?,
            origin: Origin {
                actor: self.actor.clone(),
                request_id: self.request_id.clone(),
                source: self.source.clone(),
                kind,
                reason: self.reason.clone(),
            },
            changes: self.decode_changes(catalog)?,
            config_hash: self.config_hash,
            prev_hash: self.prev_hash,
            hash: self.hash,
        })
    }
}

impl std::fmt::Debug for Row {
    /// Leaves the changes out: documents may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("seq", &self.seq)
            .field("kind", &self.kind)
            .field("config_hash", &self.config_hash)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}
