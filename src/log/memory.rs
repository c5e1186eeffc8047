//! The log of a node without a database: in memory, gone with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, NodeHash};

use super::checkpoint::{Checkpoint, Trace};
use super::fleet::{ControlPlaneRow, DataPlaneNews, DataPlaneRow, FleetStore};
use super::moment::HashPrefix;
use super::row::Row;
use super::{AppendError, EventLog, Meta, StorageError, StoredSnapshot, Tip};

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog {
    content: Mutex<Content>,
    end: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Content {
    /// The rows after those that were removed, in order.
    rows: VecDeque<Row>,
    checkpoints: Vec<Checkpoint>,
    /// What is left of removed events whose config is stored.
    traces: BTreeMap<u64, Trace>,
    meta: Option<Meta>,
    snapshots: BTreeMap<u64, ConfigHash>,
    nodes: HashMap<NodeHash, Bytes>,
    data_planes: BTreeMap<Uuid, DataPlaneRow>,
    control_planes: BTreeMap<Uuid, ControlPlaneRow>,
    fleet_revision: u64,
}

impl Content {
    fn tip(&self) -> Tip {
        match (self.rows.back(), self.checkpoints.last()) {
            (Some(row), _) => row.tip(),
            (None, Some(checkpoint)) => checkpoint.end.tip(),
            (None, None) => Tip::START,
        }
    }

    fn trace(&self, seq: Seq) -> Option<Trace> {
        let row = self.rows.iter().find(|row| row.seq == seq).map(Row::trace);
        row.or_else(|| {
            self.traces.get(&seq.0).filter(|_| self.snapshots.contains_key(&seq.0)).copied()
        })
    }

    fn stored(&self) -> Vec<StoredSnapshot> {
        let stored = self.snapshots.iter();
        stored.map(|(seq, hash)| StoredSnapshot { seq: Seq(*seq), config_hash: *hash }).collect()
    }
}

impl MemoryLog {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn tip(&self) -> Result<Tip, StorageError> {
        Ok(self.content().tip())
    }

    async fn append(&self, expected: Tip, rows: &[Row]) -> Result<(), AppendError> {
        let mut content = self.content();
        let actual = content.tip();
        if actual != expected {
            let (expected, actual) = (expected.seq, actual.seq);
            return Err(AppendError::Conflict { expected, actual });
        }
        content.rows.extend(rows.iter().cloned());
        self.end.send_replace(content.tip().seq.0);
        Ok(())
    }

    async fn settle(&self, _: Tip) -> Result<(), StorageError> {
        Ok(())
    }

    async fn read(&self, after: Seq, limit: u32) -> Result<Vec<Row>, StorageError> {
        let content = self.content();
        let skip = content.rows.partition_point(|row| row.seq <= after);
        Ok(content.rows.iter().skip(skip).take(limit as usize).cloned().collect())
    }

    async fn changed(&self, after: Seq) -> Result<(), StorageError> {
        // The sender lives as long as the log.
        let _ = self.end.subscribe().wait_for(|end| *end != after.0).await;
        Ok(())
    }

    async fn find_hash(&self, prefix: HashPrefix) -> Result<Vec<StoredSnapshot>, StorageError> {
        let content = self.content();
        let mut found: Vec<StoredSnapshot> = Vec::new();
        let gone = content.traces.keys().rev().filter_map(|seq| content.trace(Seq(*seq)));
        let known = content.rows.iter().rev().map(Row::trace).chain(gone);
        for known in known.filter(|known| prefix.matches(known.config_hash)) {
            if !found.iter().any(|found| found.config_hash == known.config_hash) {
                found.push(StoredSnapshot { seq: known.seq, config_hash: known.config_hash });
            }
            if found.len() == 2 {
                break;
            }
        }
        Ok(found)
    }

    async fn find_time(&self, at: DateTime<Utc>) -> Result<Seq, StorageError> {
        let content = self.content();
        let newest = content.checkpoints.last().map(|checkpoint| checkpoint.end);
        let known = content.rows.iter().rev().map(Row::trace).chain(newest);
        let mut found = known.filter(|known| known.at <= at.timestamp_micros());
        Ok(found.next().map_or(Seq(0), |known| known.seq))
    }

    async fn meta(&self, fresh: Meta) -> Result<Meta, StorageError> {
        Ok(self.content().meta.get_or_insert(fresh).clone())
    }

    async fn raise_epoch(&self, epoch: u64) -> Result<(), StorageError> {
        if let Some(meta) = &mut self.content().meta {
            meta.epoch = meta.epoch.max(epoch);
        }
        Ok(())
    }

    async fn store_snapshot(
        &self,
        snapshot: StoredSnapshot,
        base: Option<StoredSnapshot>,
        nodes: Vec<(NodeHash, Bytes)>,
    ) -> Result<bool, StorageError> {
        let mut content = self.content();
        if base.is_some_and(|base| content.snapshots.get(&base.seq.0) != Some(&base.config_hash)) {
            return Ok(false);
        }
        content.nodes.extend(nodes);
        content.snapshots.insert(snapshot.seq.0, snapshot.config_hash);
        Ok(true)
    }

    async fn newest_snapshot(&self, at: Seq) -> Result<Option<StoredSnapshot>, StorageError> {
        let content = self.content();
        let newest = content.snapshots.range(..=at.0).next_back();
        Ok(newest.map(|(seq, hash)| StoredSnapshot { seq: Seq(*seq), config_hash: *hash }))
    }

    async fn stored_snapshots(&self) -> Result<Vec<StoredSnapshot>, StorageError> {
        Ok(self.content().stored())
    }

    async fn forget_snapshot(&self, seq: Seq) -> Result<(), StorageError> {
        self.content().snapshots.remove(&seq.0);
        Ok(())
    }

    async fn stored_nodes(
        &self,
        after: Option<NodeHash>,
        limit: u32,
    ) -> Result<Vec<NodeHash>, StorageError> {
        let content = self.content();
        let mut hashes: Vec<_> =
            content.nodes.keys().filter(|hash| Some(**hash) > after).copied().collect();
        hashes.sort_unstable();
        hashes.truncate(limit as usize);
        Ok(hashes)
    }

    async fn remove_nodes(
        &self,
        stored: &[StoredSnapshot],
        nodes: &[NodeHash],
    ) -> Result<bool, StorageError> {
        let mut content = self.content();
        let unchanged = content.stored() == stored;
        if unchanged {
            nodes.iter().for_each(|hash| drop(content.nodes.remove(hash)));
        }
        Ok(unchanged)
    }

    async fn load_nodes(
        &self,
        hashes: &[NodeHash],
    ) -> Result<Vec<(NodeHash, Bytes)>, StorageError> {
        let content = self.content();
        let stored =
            hashes.iter().filter_map(|hash| Some((*hash, content.nodes.get(hash)?.clone())));
        Ok(stored.collect())
    }

    async fn trace(&self, seq: Seq) -> Result<Option<Trace>, StorageError> {
        Ok(self.content().trace(seq))
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StorageError> {
        Ok(self.content().checkpoints.clone())
    }

    async fn record_checkpoints(&self, checkpoints: &[Checkpoint]) -> Result<bool, StorageError> {
        let mut content = self.content();
        let (Some(first), Some(last)) = (checkpoints.first(), checkpoints.last()) else {
            return Ok(true);
        };
        let newest = content.checkpoints.last().map_or(Seq(0), |newest| newest.end.seq);
        let is_stored = content.snapshots.get(&last.end.seq.0) == Some(&last.end.config_hash);
        let is_logged = content.rows.is_empty()
            || content.rows.iter().any(|row| row.trace().tip() == last.end.tip());
        let belongs = newest.next() == first.first && is_stored && is_logged;
        if belongs {
            content.checkpoints.extend_from_slice(checkpoints);
            content.traces.insert(last.end.seq.0, last.end);
        }
        Ok(belongs)
    }

    async fn remove_archived(&self, limit: u32) -> Result<Option<Seq>, StorageError> {
        let mut content = self.content();
        let newest = content.checkpoints.last().map_or(Seq(0), |newest| newest.end.seq);
        let old = content.rows.partition_point(|row| row.seq <= newest);
        let removed: Vec<_> = content.rows.drain(..old.min(limit as usize)).collect();
        for row in &removed {
            if content.snapshots.contains_key(&row.seq.0) {
                content.traces.insert(row.seq.0, row.trace());
            }
        }
        Ok(removed.last().map(|row| row.seq))
    }
}

#[async_trait]
impl FleetStore for MemoryLog {
    async fn share(
        &self,
        control_plane: &ControlPlaneRow,
        news: &[DataPlaneNews],
    ) -> Result<(), StorageError> {
        let mut content = self.content();
        content.control_planes.insert(control_plane.id, control_plane.clone());
        content.fleet_revision += 1;
        let (revision, heard_by) = (content.fleet_revision, Some(control_plane.id));
        for DataPlaneNews { id, row, expires_at, spoke } in news.iter().cloned() {
            let is_others =
                content.data_planes.get(&id).is_some_and(|stored| stored.heard_by != heard_by);
            if spoke || !is_others {
                let row = DataPlaneRow { id, row, expires_at, heard_by, revision };
                content.data_planes.insert(id, row);
            }
        }
        Ok(())
    }

    async fn data_planes(&self, after: Option<u64>) -> Result<Vec<DataPlaneRow>, StorageError> {
        let content = self.content();
        let rows = content.data_planes.values().filter(|row| Some(row.revision) > after);
        let mut rows: Vec<_> = rows.cloned().collect();
        rows.sort_by_key(|row| row.revision);
        Ok(rows)
    }

    async fn control_planes(&self) -> Result<Vec<ControlPlaneRow>, StorageError> {
        Ok(self.content().control_planes.values().cloned().collect())
    }

    async fn purge_data_planes(&self, now: DateTime<Utc>) -> Result<u64, StorageError> {
        let mut content = self.content();
        let before = content.data_planes.len();
        content.data_planes.retain(|_, row| row.expires_at > now);
        Ok((before - content.data_planes.len()) as u64)
    }

    async fn forget_control_plane(&self, gone: &ControlPlaneRow) -> Result<(), StorageError> {
        self.content().control_planes.retain(|id, it| *id != gone.id || it.beat != gone.beat);
        Ok(())
    }
}
