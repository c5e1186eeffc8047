//! The audit: every row hashed again, the chain followed, every config rebuilt from zero, or from the
//! config that the log begins with where its oldest events were moved to archives. With the archives
//! it goes over those too.
//!
//! It finds any row that was changed, put in or taken out, unless whoever did it hashed every later
//! row anew. Against that, and against rows cut off at the end, compare the end that it returns with
//! one noted elsewhere.

use std::io::BufRead;
use std::sync::Arc;

use super::Head;
use super::history::{History, StoreError};
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::log::checkpoint::Checkpoint;
use crate::log::row::{Row, RowError};
use crate::log::transfer::{FileError, Reader};
use crate::log::{StorageError, StoredSnapshot};

/// Rows read at once.
const PAGE_LEN: u32 = 1000;

/// The first thing that is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log cannot be read, or a column holds what this program never writes.
    #[error("event log cannot be read")]
    Storage(#[from] StorageError),
    /// Rows were taken out, or put in.
    #[error("event {expected} is missing: the next one is {found}")]
    Missing {
        /// The position that should come.
        expected: Seq,
        /// The position that comes.
        found: Seq,
    },
    /// The row names another predecessor.
    #[error("event {seq} does not follow event {before}: its prev_hash is not that event's hash")]
    Chain {
        /// The position.
        seq: Seq,
        /// The one before.
        before: Seq,
    },
    /// The row's columns are not the ones that were hashed.
    #[error("event {0} was changed: its columns do not have the hash beside them")]
    Content(Seq),
    /// The row cannot be read.
    #[error("event cannot be read")]
    Row(#[from] RowError),
    /// The config that the log begins with is not whole.
    #[error("config of the checkpoint at event {seq} is not whole")]
    Checkpoint {
        /// The position.
        seq: Seq,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The checkpoint speaks of another event.
    #[error("checkpoint at event {0} is of another event than the one that is there")]
    Elsewhere(Seq),
    /// An archive is damaged.
    #[error("archive cannot be read: {0}")]
    File(#[from] FileError),
    /// An archive begins elsewhere than the one before it ends.
    #[error("archive begins after event {start}, but what is before it ends with event {end}")]
    Gap {
        /// What the archive follows.
        start: Seq,
        /// What there is.
        end: Seq,
    },
    /// What is before the first archive is needed.
    #[error(
        "archives begin after event {0}, and the config there is not stored: give the earlier ones"
    )]
    Earlier(Seq),
    /// The changes lead to another config.
    #[error("changes of event {seq} lead to config {actual}, but it records {recorded}")]
    Config {
        /// The position.
        seq: Seq,
        /// What the row says.
        recorded: ConfigHash,
        /// What comes out.
        actual: ConfigHash,
    },
}

/// Checks the log and returns its end.
///
/// # Errors
///
/// The first thing that is wrong.
pub async fn verify(history: &History) -> Result<Arc<Head>, AuditError> {
    let mut audit = Audit::begin(history).await?;
    audit.rest(|_| {}).await?;
    Ok(audit.head)
}

/// An audit that is under way.
pub struct Audit<'h> {
    history: &'h History,
    checkpoints: Vec<Checkpoint>,
    /// The last event that was found good.
    pub head: Arc<Head>,
}

impl<'h> Audit<'h> {
    /// Begins where the log does: at the newest checkpoint, whose config has to be whole, or at
    /// nothing.
    ///
    /// # Errors
    ///
    /// The checkpoint is damaged.
    pub async fn begin(history: &'h History) -> Result<Self, AuditError> {
        let checkpoints = history.log().checkpoints().await?;
        let head = match checkpoints.last() {
            Some(checkpoint) => load(history, checkpoint).await?,
            None => Arc::new(Head::empty()),
        };
        Ok(Self { history, checkpoints, head })
    }

    /// Begins where an archive does, so that what was moved away is checked too.
    ///
    /// # Errors
    ///
    /// It begins after an earlier archive, and the config there is not stored.
    pub async fn begin_with<R: BufRead>(
        history: &'h History,
        archive: &Reader<R>,
    ) -> Result<Self, AuditError> {
        let checkpoints = history.log().checkpoints().await?;
        let head = match archive.header.checkpoints.last() {
            None => Arc::new(Head::empty()),
            Some(checkpoint) => match load(history, checkpoint).await {
                Err(AuditError::Checkpoint { seq, .. }) => return Err(AuditError::Earlier(seq)),
                head => head?,
            },
        };
        Ok(Self { history, checkpoints, head })
    }

    /// Checks the events of an archive, which follow the last one that was found good, and shows each
    /// to `see`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn archive<R: BufRead>(
        &mut self,
        mut archive: Reader<R>,
        mut see: impl FnMut(&Head),
    ) -> Result<(), AuditError> {
        if archive.header.start() != self.head.tip() {
            let (start, end) = (archive.header.start().seq, self.head.seq);
            return Err(AuditError::Gap { start, end });
        }
        while let Some(row) = archive.read()? {
            self.row(&row, &mut see)?;
        }
        Ok(())
    }

    /// Checks the events of the log after the last one that was found good, and shows each to `see`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub async fn rest(&mut self, mut see: impl FnMut(&Head)) -> Result<(), AuditError> {
        loop {
            let rows = self.history.log().read(self.head.seq, PAGE_LEN).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                self.row(row, &mut see)?;
            }
        }
    }

    fn row(&mut self, row: &Row, see: &mut impl FnMut(&Head)) -> Result<(), AuditError> {
        let head = verify_row(self.history, &self.head, row)?;
        let ends = |checkpoint: &&Checkpoint| checkpoint.end.seq == head.seq;
        if let Some(checkpoint) = self.checkpoints.iter().find(ends)
            && checkpoint.end != row.trace()
        {
            return Err(AuditError::Elsewhere(head.seq));
        }
        see(&head);
        self.head = Arc::new(head);
        Ok(())
    }
}

/// Returns the head of a checkpoint, from its config as it is stored.
async fn load(history: &History, checkpoint: &Checkpoint) -> Result<Arc<Head>, AuditError> {
    let end = checkpoint.end;
    let stored = StoredSnapshot { seq: end.seq, config_hash: end.config_hash };
    let head = history.load(stored).await;
    let head = head.map_err(|source| AuditError::Checkpoint { seq: end.seq, source })?;
    match head.tip() == end.tip() {
        true => Ok(Arc::new(head)),
        false => Err(AuditError::Elsewhere(end.seq)),
    }
}

fn verify_row(history: &History, head: &Head, row: &Row) -> Result<Head, AuditError> {
    let expected = head.seq.next();
    if row.seq != expected {
        return Err(AuditError::Missing { expected, found: row.seq });
    }
    if row.prev_hash != head.event_hash {
        return Err(AuditError::Chain { seq: row.seq, before: head.seq });
    }
    if row.digest() != row.hash {
        return Err(AuditError::Content(row.seq));
    }
    let event = row.event(history.catalog())?;
    let snapshot = head.snapshot.apply(history.catalog(), &event.changes);
    let (actual, recorded) = (snapshot.hash(), row.config_hash);
    if actual != recorded {
        return Err(AuditError::Config { seq: row.seq, recorded, actual });
    }
    Ok(Head::after(&row.trace(), snapshot))
}
