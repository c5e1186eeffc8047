//! Checkpoints: where a log begins after its oldest events were moved to an archive.
//!
//! A checkpoint names the last event of an archive. The config there is stored in full, and the next
//! event names its hash as predecessor: so the chain goes on, with or without the archive at hand.
//! Checkpoints are recorded before a row is removed and are never taken back: events at or before the
//! newest one are gone or going.

use chrono::{DateTime, Utc};

use super::Tip;
use super::moment::Moment;
use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, EventHash};

/// What is left of an event when its row is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Its position.
    pub seq: Seq,
    /// When it was accepted, in microseconds since 1970.
    pub at: i64,
    /// The hash of its row.
    pub hash: EventHash,
    /// The config that it led to.
    pub config_hash: ConfigHash,
}

impl Trace {
    /// Returns the end of a log that ends with the event.
    pub fn tip(&self) -> Tip {
        Tip { seq: self.seq, hash: self.hash }
    }

    /// Returns when it was accepted; none if that is out of bounds.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.at)
    }
}

/// The end of one archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The first event in the archive.
    pub first: Seq,
    /// The last event in the archive.
    pub end: Trace,
    /// What the archive was called when it was written.
    pub archive: String,
    /// When the checkpoint was made.
    pub made_at: DateTime<Utc>,
    /// Who made it.
    pub actor: String,
}

/// Says where the events are that somebody asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{asked} is in the archive {archive} (events {first} to {last}); the oldest event of this log \
     is {oldest}"
)]
pub struct Archived {
    /// What was asked for.
    pub asked: Moment,
    /// What the archive was called.
    pub archive: String,
    /// Its first event.
    pub first: Seq,
    /// Its last event.
    pub last: Seq,
    /// The first event that is still in the log.
    pub oldest: Seq,
}

impl Archived {
    /// Looks for a position or a time among checkpoints, oldest first; none if it is after all of
    /// them.
    pub fn find(checkpoints: &[Checkpoint], asked: Moment) -> Option<Box<Self>> {
        let newest = checkpoints.last()?;
        let holder = checkpoints.iter().find(|checkpoint| match asked {
            Moment::Seq(seq) => seq <= checkpoint.end.seq,
            Moment::Time(at) => at.timestamp_micros() <= checkpoint.end.at,
            Moment::Hash(_) => false,
        })?;
        Some(Box::new(Self {
            asked,
            archive: holder.archive.clone(),
            first: holder.first,
            last: holder.end.seq,
            oldest: newest.end.seq.next(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hash::GENESIS;

    #[test]
    fn the_archive_that_holds_a_position_is_named() {
        let checkpoint = |first, last| Checkpoint {
            first: Seq(first),
            end: Trace { seq: Seq(last), at: 0, hash: GENESIS, config_hash: ConfigHash([1; 32]) },
            archive: format!("log-{first}"),
            made_at: DateTime::UNIX_EPOCH,
            actor: "ann".into(),
        };
        let checkpoints = [checkpoint(1, 10), checkpoint(11, 30)];
        let found = |asked| {
            let found = Archived::find(&checkpoints, Moment::Seq(Seq(asked)))?;
            Some((found.archive, found.first.0, found.last.0, found.oldest.0))
        };
        assert_eq!(found(10), Some(("log-1".into(), 1, 10, 31)));
        assert_eq!(found(11), Some(("log-11".into(), 11, 30, 31)));
        assert_eq!(found(31), None);
        assert_eq!(Archived::find(&[], Moment::Seq(Seq(1))), None);
    }
}
