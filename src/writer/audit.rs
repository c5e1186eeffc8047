//! The audit: every row hashed again, the chain followed, every config rebuilt from zero.
//!
//! It finds any row that was changed, put in or taken out, unless whoever did it hashed every later
//! row anew. Against that, and against rows cut off at the end, compare the end that it returns with
//! one noted elsewhere.

use std::sync::Arc;

use super::Head;
use super::history::History;
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::log::StorageError;
use crate::log::row::{Row, RowError};

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

/// Checks the whole log and returns its end.
///
/// # Errors
///
/// The first thing that is wrong.
pub async fn verify(history: &History) -> Result<Arc<Head>, AuditError> {
    verify_all(history, |_| {}).await
}

/// Does the same, and shows each event that was found good to `see`.
///
/// # Errors
///
/// The first thing that is wrong.
pub async fn verify_all(
    history: &History,
    mut see: impl FnMut(&Head),
) -> Result<Arc<Head>, AuditError> {
    let mut head = Arc::new(Head::empty());
    loop {
        let rows = history.log().read(head.seq, PAGE_LEN).await?;
        if rows.is_empty() {
            return Ok(head);
        }
        for row in &rows {
            head = Arc::new(verify_row(history, &head, row)?);
            see(&head);
        }
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
    Ok(Head::after(row, snapshot))
}
