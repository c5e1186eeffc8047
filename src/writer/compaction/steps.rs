//! The steps of a compaction in the database: what is stored, the checkpoint, the rows.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::time::sleep;

use super::{CompactError, Plan};
use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, NodeHash};
use crate::failpoint;
use crate::log::checkpoint::Checkpoint;
use crate::log::{EventLog, StorageError, StoredSnapshot};
use crate::writer::Head;
use crate::writer::history::{History, ReplayError};

/// Rows removed in one transaction.
pub const BATCH_LEN: u32 = 10_000;

/// Least pause between two of them.
const PAUSE: Duration = Duration::from_millis(5);

/// What somebody refers to, and so has to stay readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referred {
    /// Positions, with their configs.
    pub positions: Vec<(Seq, ConfigHash)>,
    /// Configs, at whichever position.
    pub configs: Vec<ConfigHash>,
}

/// Stores the config after the last event that goes, in full, unless it is stored.
///
/// # Errors
///
/// It cannot be rebuilt or stored.
pub async fn anchor(history: &History, plan: &Plan) -> Result<(), CompactError> {
    failpoint::hit("compaction.checked");
    store(history, StoredSnapshot { seq: plan.end.seq, config_hash: plan.end.config_hash }).await?;
    failpoint::hit("compaction.anchored");
    Ok(())
}

/// Records the checkpoint.
///
/// # Errors
///
/// The database fails, or somebody else was faster.
pub async fn record(
    log: &dyn EventLog,
    plan: &Plan,
    archive: String,
    made_at: DateTime<Utc>,
    actor: String,
) -> Result<(), CompactError> {
    let checkpoint = Checkpoint { first: plan.first(), end: plan.end, archive, made_at, actor };
    match log.record_checkpoints(&[checkpoint]).await? {
        true => {
            failpoint::hit("compaction.recorded");
            Ok(())
        }
        false => Err(CompactError::Raced),
    }
}

/// Stores, in full, what is referred to and not after the newest checkpoint. Returns what was not
/// readable any more: an earlier compaction did not know of it.
///
/// # Errors
///
/// The log cannot be read, or a config not be stored.
pub async fn retain(
    history: &History,
    referred: &Referred,
) -> Result<Vec<StoredSnapshot>, CompactError> {
    let (log, floor) = (history.log(), history.floor().await?);
    let positions = referred.positions.iter();
    let mut wanted: Vec<_> = positions
        .map(|(seq, config_hash)| StoredSnapshot { seq: *seq, config_hash: *config_hash })
        .collect();
    for config in &referred.configs {
        // The newest position with it: while that is in the log, nothing has to be stored.
        wanted.extend(log.find_hash((*config).into()).await?);
    }
    let mut lost = Vec::new();
    for snapshot in wanted.into_iter().filter(|it| it.seq <= floor && it.seq > Seq(0)) {
        let trace = log.trace(snapshot.seq).await?;
        if trace.is_none_or(|trace| trace.config_hash != snapshot.config_hash) {
            lost.push(snapshot);
            continue;
        }
        match store(history, snapshot).await {
            Err(CompactError::Replay(ReplayError::Archived(_))) => lost.push(snapshot),
            stored => stored?,
        }
    }
    failpoint::hit("compaction.retained");
    Ok(lost)
}

/// Removes the rows that are not after the newest checkpoint, and shows the last position of each
/// transaction to `see`. Between two of them others have as long as one took.
///
/// # Errors
///
/// The database fails.
pub async fn remove(log: &dyn EventLog, mut see: impl FnMut(Seq)) -> Result<(), StorageError> {
    loop {
        let began = Instant::now();
        let Some(last) = log.remove_archived(BATCH_LEN).await? else { return Ok(()) };
        failpoint::hit("compaction.removed");
        see(last);
        sleep(began.elapsed().max(PAUSE)).await;
    }
}

async fn store(history: &History, snapshot: StoredSnapshot) -> Result<(), CompactError> {
    let log = history.log();
    if log.newest_snapshot(snapshot.seq).await? == Some(snapshot)
        && history.load(snapshot).await.is_ok()
    {
        return Ok(());
    }
    let head = history.rebuild(snapshot.seq, None).await?;
    let (recorded, actual) = (snapshot.config_hash, head.config_hash);
    if actual != recorded {
        return Err(ReplayError::Mismatch { seq: snapshot.seq, recorded, actual }.into());
    }
    log.store_snapshot(snapshot, None, nodes(&head)).await?;
    Ok(())
}

/// Returns the nodes of a config.
pub fn nodes(head: &Head) -> Vec<(NodeHash, Bytes)> {
    head.snapshot.tree().nodes().map(|node| (node.hash(), node.bytes())).collect()
}
