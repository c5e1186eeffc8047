//! Stores the snapshot of the newest head, so that a start need not replay the log.
//!
//! The log alone is the truth: a snapshot that could not be stored costs time at the next start and
//! nothing else. So snapshots are stored seldom, off the way of writes: after many events, when the head has been quiet for a while, and at the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Head;
use crate::domain::hash::NodeHash;
use crate::failpoint;
use crate::log::{EventLog, StorageError, StoredSnapshot};
use crate::telemetry::trouble::Trouble;

/// Events after which a snapshot is stored.
const EVENTS_MAX: u64 = 1000;

/// Least time between two stored snapshots.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the head must stand still for a snapshot to be stored before enough events came.
const QUIET: Duration = Duration::from_secs(10);

/// Follows the heads of a writer and stores some of their snapshots.
pub struct Projector {
    log: Arc<dyn EventLog>,
    heads: watch::Receiver<Arc<Head>>,
    /// The head whose nodes are all stored.
    stored: Option<Arc<Head>>,
    trouble: Trouble,
}

impl Projector {
    /// Follows the heads that come through `heads`.
    pub fn new(log: Arc<dyn EventLog>, heads: watch::Receiver<Arc<Head>>) -> Self {
        Self { log, heads, stored: None, trouble: Trouble::new() }
    }

    /// Runs until `stop` resolves or the writer is gone; then stores once more.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut last = Instant::now();
        let mut changed = Instant::now();
        loop {
            let due = last + INTERVAL;
            let due = if self.is_behind() { due } else { due.max(changed + QUIET) };
            let pending = self.is_pending();
            tokio::select! {
                biased;
                () = &mut stop => break,
                heads = self.heads.changed() => match heads {
                    Ok(()) => changed = Instant::now(),
                    Err(_) => break,
                },
                () = sleep_until(due), if pending => {
                    self.store_logged().await;
                    last = Instant::now();
                }
            }
        }
        self.store_logged().await;
    }

    /// Returns whether so much has happened that the snapshot should be stored though more comes.
    fn is_behind(&self) -> bool {
        let stored = self.stored.as_ref().map_or(0, |head| head.seq.0);
        self.heads.borrow().seq.0.saturating_sub(stored) >= EVENTS_MAX
    }

    fn is_pending(&self) -> bool {
        let seq = self.heads.borrow().seq;
        seq.0 > 0 && self.stored.as_ref().is_none_or(|stored| stored.seq != seq)
    }

    async fn store_logged(&mut self) {
        match self.store().await {
            Ok(()) if self.trouble.ends() => tracing::info!("snapshots are stored again"),
            Err(error) if self.trouble.begins() => {
                tracing::warn!(?error, "cannot store a snapshot; the next start replays more");
            }
            _ => {}
        }
    }

    /// Stores the newest head's snapshot, unless it is stored; writes only nodes that are new.
    pub async fn store(&mut self) -> Result<(), StorageError> {
        if !self.is_pending() {
            return Ok(());
        }
        let head = self.heads.borrow().clone();
        let stored = self.stored.take();
        let tree = head.snapshot.tree();
        let nodes: Vec<(NodeHash, Bytes)> = match &stored {
            Some(stored) => {
                let fresh = tree.nodes_not_in(stored.snapshot.tree());
                fresh.iter().map(|node| (node.hash(), node.bytes())).collect()
            }
            None => tree.nodes().map(|node| (node.hash(), node.bytes())).collect(),
        };
        failpoint::hit("projector.store");
        let snapshot = StoredSnapshot { seq: head.seq, config_hash: head.config_hash };
        let base =
            stored.map(|head| StoredSnapshot { seq: head.seq, config_hash: head.config_hash });
        if !self.log.store_snapshot(snapshot, base, nodes).await? {
            failpoint::hit("projector.again");
            // What was stored before has been cleared away since.
            let nodes = tree.nodes().map(|node| (node.hash(), node.bytes())).collect();
            self.log.store_snapshot(snapshot, None, nodes).await?;
        }
        failpoint::hit("projector.stored");
        // Only now: after a failure the next attempt writes every node again.
        self.stored = Some(head);
        Ok(())
    }
}
