//! Moves the oldest events to an archive, in steps, each of which may be the last one before a crash.
//!
//! 1. [`plan`]: which events go. Nothing is written.
//! 2. [`archive`]: the file, complete under its name and on the disk; then [`check`]: read back.
//! 3. [`anchor`]: the config after the last of them is stored in full.
//! 4. [`record`]: the checkpoint. From here on the events count as moved.
//! 5. [`retain`]: the older configs that somebody refers to are stored in full.
//! 6. [`remove`]: the rows, oldest first, so many at a time that writers hardly wait.
//!
//! Up to step 4 a crash leaves at most a file that nobody asks for; after it, steps 5 and 6 are done
//! again by whoever compacts next. Of two who compact at once, one records its checkpoint.
//! Control planes that run meanwhile have their head in memory, and need rows only after it; one
//! that lags behind what was moved goes on from a stored config.

mod file;
mod steps;

use chrono::{DateTime, TimeDelta, Utc};

pub use self::file::{archive, check};
pub use self::steps::{Referred, anchor, nodes, record, remove, retain};
use super::history::{History, ReplayError};
use crate::domain::event::Seq;
use crate::log::StorageError;
use crate::log::checkpoint::{Checkpoint, Trace};
use crate::log::transfer::{ExportError, FileError};

/// Rows looked at in one step.
const PAGE_LEN: u32 = 1000;

/// Which events stay. The newest event always does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// So many of the newest.
    Events(u64),
    /// This one and all after it.
    From(Seq),
    /// The first one that is not older, and all after it.
    Since(DateTime<Utc>),
}

/// Which events go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The archives that there are already, oldest first.
    pub earlier: Vec<Checkpoint>,
    /// The last event that goes.
    pub end: Trace,
    /// The end of the log when the plan was made.
    pub newest: Seq,
}

impl Plan {
    /// Returns the first event that goes.
    pub fn first(&self) -> Seq {
        self.earlier.last().map_or(Seq(1), |checkpoint| checkpoint.end.seq.next())
    }

    /// Returns how many events go.
    pub fn count(&self) -> u64 {
        self.end.seq.next().0 - self.first().0
    }
}

/// Why events were not moved.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The database failed.
    #[error("database of the event log cannot be used")]
    Storage(#[from] StorageError),
    /// A config that has to be stored cannot be rebuilt.
    #[error("config of an event cannot be rebuilt")]
    Replay(#[from] ReplayError),
    /// The archive cannot be written.
    #[error("archive cannot be written")]
    Write(#[from] ExportError),
    /// There is a file of that name, and it is another one.
    #[error("there is another file of the archive's name already")]
    Exists,
    /// What was read back is not what was written.
    #[error("archive is not as it was written: {0}")]
    Read(#[from] FileError),
    /// Somebody else compacted meanwhile; nothing was removed.
    #[error("somebody else has compacted the log meanwhile")]
    Raced,
}

/// Decides which events go; none if there is nothing to move. Only whole stretches go: an event
/// that a clock dated too early or too late stays or goes with its neighbours.
///
/// # Errors
///
/// The log cannot be read.
pub async fn plan(history: &History, keep: Keep) -> Result<Option<Plan>, CompactError> {
    let log = history.log();
    let (earlier, newest) = (log.checkpoints().await?, log.tip().await?.seq);
    let floor = earlier.last().map_or(Seq(0), |checkpoint| checkpoint.end.seq);
    let last = match keep {
        Keep::Events(count) => Seq(newest.0.saturating_sub(count)),
        Keep::From(seq) => Seq(seq.0.saturating_sub(1)),
        Keep::Since(time) => before(history, floor, time).await?,
    };
    let last = last.min(Seq(newest.0.saturating_sub(1)));
    if last <= floor {
        return Ok(None);
    }
    let end = log.trace(last).await?.ok_or(ReplayError::Broken(last))?;
    Ok(Some(Plan { earlier, end, newest }))
}

/// Returns the last position after `floor` of those that are all older than a time.
async fn before(history: &History, floor: Seq, time: DateTime<Utc>) -> Result<Seq, CompactError> {
    // What a wrong clock dated does not count: no later than the last one, not after a younger one.
    let earlier = time.checked_sub_signed(TimeDelta::microseconds(1)).unwrap_or(time);
    let last = history.log().find_time(earlier).await?;
    let mut at = floor;
    while at < last {
        let rows = history.log().read(at, PAGE_LEN).await?;
        let old = rows.iter().take_while(|row| row.at < time.timestamp_micros());
        let old = old.map(|row| row.seq).last();
        match old {
            Some(seq) => at = seq.min(last),
            None => break,
        }
        if rows.last().map(|row| row.seq) != old {
            break;
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
