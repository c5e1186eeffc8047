//! Clears away stored snapshots that nothing needs, and the nodes that only they had.
//!
//! The log leads to every config with or without them; they only shorten the way. What is kept: the
//! newest, the young, one in each [`ANCHOR_INTERVAL`] positions, the newest checkpoint's, and every
//! config that is retained. Of what is before that checkpoint, archives have what is not kept.
//!
//! Others store snapshots meanwhile, in this process and in others. Nodes are marked from outside
//! any transaction, and each removal happens only if the list of stored snapshots is the marked one;
//! whoever stores a snapshot on top of another one finds out whether that is still stored.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, NodeHash};
use crate::failpoint;
use crate::log::fleet::FleetStore;
use crate::log::{EventLog, StorageError, StoredSnapshot};
use crate::snapshot::VerifyError;
use crate::snapshot::node::children;

/// Of the stored snapshots in so many positions one stays for ever, so that no way back is long.
pub const ANCHOR_INTERVAL: u64 = 10_000;

/// How often marking begins again because somebody stored a snapshot.
const ATTEMPTS_MAX: usize = 8;

/// Nodes that are looked at, or removed in one transaction.
const BATCH_LEN: usize = 512;

/// Which snapshots stay, beside those that are retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// So many of the newest.
    pub keep: usize,
    /// Those of events that are younger.
    pub age: TimeDelta,
}

/// What was cleared away, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// The snapshots.
    pub snapshots: Vec<StoredSnapshot>,
    /// How many snapshots stay.
    pub kept: usize,
    /// How many nodes.
    pub nodes: usize,
    /// Whether others stored snapshots so often that nodes were left for the next time.
    pub interrupted: bool,
}

/// Why nothing more was cleared away.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The database failed.
    #[error("database of the event log cannot be used")]
    Storage(#[from] StorageError),
    /// A node of a newer release: what it needs is not known here.
    #[error("stored node {0} cannot be followed")]
    Node(NodeHash, #[source] VerifyError),
}

/// Clears away what neither the policy nor `retained` keeps; with `dry_run` only tells.
///
/// # Errors
///
/// The database fails, or holds nodes of a newer release.
pub async fn clear(
    log: &dyn EventLog,
    policy: Policy,
    retained: &[ConfigHash],
    now: DateTime<Utc>,
    dry_run: bool,
) -> Result<Cleared, GcError> {
    let mut cleared = Cleared::default();
    for _ in 0..ATTEMPTS_MAX {
        let stored = log.stored_snapshots().await?;
        let mut kept = choose(log, policy, retained, now, &stored).await?;
        let live = mark(log, &mut kept).await?;
        let dead = unmarked(log, &live).await?;
        failpoint::hit("gc.marked");
        cleared.kept = kept.len();
        let gone: Vec<_> = stored.into_iter().filter(|it| !kept.contains(it)).collect();
        if dry_run {
            return Ok(Cleared { snapshots: gone, nodes: dead.len(), ..cleared });
        }
        for snapshot in gone {
            log.forget_snapshot(snapshot.seq).await?;
            failpoint::hit("gc.forgot");
            cleared.snapshots.push(snapshot);
        }
        if sweep(log, &kept, &dead, &mut cleared.nodes).await? {
            return Ok(cleared);
        }
    }
    Ok(Cleared { interrupted: true, ..cleared })
}

/// Returns the configs that the data planes of all control planes of a database run, connected or
/// not, as far as their rows tell and have not expired.
pub async fn configs_of_data_planes(
    store: &dyn FleetStore,
    now: DateTime<Utc>,
) -> Result<Vec<ConfigHash>, StorageError> {
    let planes = store.data_planes(None).await?;
    let known = planes.iter().filter(|plane| plane.expires_at > now);
    let hashes = known.filter_map(|plane| {
        let row: serde_json::Value = serde_json::from_str(&plane.row).ok()?;
        let named =
            ["applied_hash", "config_hash"].map(|name| row.get(name)?.as_str()?.parse().ok());
        named.into_iter().flatten().next()
    });
    Ok(hashes.collect())
}

/// Returns the snapshots that stay, in order of position.
async fn choose(
    log: &dyn EventLog,
    policy: Policy,
    retained: &[ConfigHash],
    now: DateTime<Utc>,
    stored: &[StoredSnapshot],
) -> Result<Vec<StoredSnapshot>, StorageError> {
    // A time so long ago that it is none makes everything young.
    let old = match now.checked_sub_signed(policy.age) {
        Some(time) => log.find_time(time).await?,
        None => Seq(0),
    };
    // Without the newest checkpoint's nothing leads to any config.
    let checkpoint = log.checkpoints().await?.pop().map(|checkpoint| checkpoint.end.seq);
    let newest = stored.len().saturating_sub(policy.keep.max(1));
    let last_of_its_block = |index: usize, snapshot: &StoredSnapshot| {
        let block = snapshot.seq.0 / ANCHOR_INTERVAL;
        stored.get(index + 1).is_none_or(|next| next.seq.0 / ANCHOR_INTERVAL != block)
    };
    let kept = stored.iter().enumerate().filter(|(index, snapshot)| {
        *index >= newest
            || snapshot.seq > old
            || Some(snapshot.seq) == checkpoint
            || retained.contains(&snapshot.config_hash)
            || last_of_its_block(*index, snapshot)
    });
    Ok(kept.map(|(_, snapshot)| *snapshot).collect())
}

/// Returns the nodes of the snapshots that are kept. One with nodes that are missing or damaged is
/// of no use and is kept no more: then the next one is stored whole, and mends them.
async fn mark(
    log: &dyn EventLog,
    kept: &mut Vec<StoredSnapshot>,
) -> Result<HashSet<NodeHash>, GcError> {
    let mut live = HashSet::new();
    let mut whole = Vec::with_capacity(kept.len());
    for snapshot in kept.iter() {
        if follow(log, NodeHash(snapshot.config_hash.0), &mut live).await? {
            whole.push(*snapshot);
        }
    }
    *kept = whole;
    Ok(live)
}

/// Adds all nodes below a root; returns whether each inner one is there and can be read.
async fn follow(
    log: &dyn EventLog,
    root: NodeHash,
    live: &mut HashSet<NodeHash>,
) -> Result<bool, GcError> {
    let mut wanted = vec![root];
    let mut found = HashSet::new();
    while !wanted.is_empty() {
        wanted.retain(|hash| !live.contains(hash));
        let mut next = Vec::new();
        for batch in wanted.chunks(BATCH_LEN) {
            let nodes = log.load_nodes(batch).await?;
            if nodes.len() < batch.len() {
                return Ok(false);
            }
            for (hash, bytes) in nodes {
                found.insert(hash);
                match children(&bytes) {
                    // Leaves are not read: only their names count.
                    Ok((1, leaves)) => found.extend(leaves),
                    Ok((_, inner)) => next.extend(inner),
                    Err(error @ VerifyError::NewerFormat(_)) => {
                        return Err(GcError::Node(hash, error));
                    }
                    Err(_) => return Ok(false),
                }
            }
        }
        wanted = next;
    }
    // What is known to be whole need not be followed again.
    live.extend(found);
    Ok(true)
}

async fn unmarked(
    log: &dyn EventLog,
    live: &HashSet<NodeHash>,
) -> Result<Vec<NodeHash>, StorageError> {
    let (mut dead, mut after) = (Vec::new(), None);
    loop {
        let page = log.stored_nodes(after, BATCH_LEN as u32).await?;
        let Some(last) = page.last() else { return Ok(dead) };
        after = Some(*last);
        dead.extend(page.into_iter().filter(|hash| !live.contains(hash)));
    }
}

/// Removes dead nodes; returns whether that went to the end.
async fn sweep(
    log: &dyn EventLog,
    kept: &[StoredSnapshot],
    dead: &[NodeHash],
    removed: &mut usize,
) -> Result<bool, StorageError> {
    for batch in dead.chunks(BATCH_LEN) {
        if !log.remove_nodes(kept, batch).await? {
            return Ok(false);
        }
        failpoint::hit("gc.removed");
        *removed += batch.len();
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
