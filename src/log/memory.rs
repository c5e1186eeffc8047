//! The log of a node without a database: in memory, gone with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, NodeHash};

use super::moment::HashPrefix;
use super::row::Row;
use super::{AppendError, DataPlaneRow, EventLog, Meta, StorageError, StoredSnapshot, Tip};

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog {
    content: Mutex<Content>,
    end: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Content {
    /// The row of position n is at n - 1.
    rows: Vec<Row>,
    meta: Option<Meta>,
    snapshots: BTreeMap<u64, ConfigHash>,
    nodes: HashMap<NodeHash, Bytes>,
    data_planes: BTreeMap<Uuid, DataPlaneRow>,
}

impl Content {
    fn tip(&self) -> Tip {
        self.rows.last().map_or(Tip::START, Row::tip)
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
        content.rows.extend_from_slice(rows);
        self.end.send_replace(content.tip().seq.0);
        Ok(())
    }

    async fn settle(&self, _: Tip) -> Result<(), StorageError> {
        Ok(())
    }

    async fn read(&self, after: Seq, limit: u32) -> Result<Vec<Row>, StorageError> {
        let skip = usize::try_from(after.0).unwrap_or(usize::MAX);
        Ok(self.content().rows.iter().skip(skip).take(limit as usize).cloned().collect())
    }

    async fn changed(&self, after: Seq) -> Result<(), StorageError> {
        // The sender lives as long as the log.
        let _ = self.end.subscribe().wait_for(|end| *end != after.0).await;
        Ok(())
    }

    async fn find_hash(&self, prefix: HashPrefix) -> Result<Vec<StoredSnapshot>, StorageError> {
        let mut found: Vec<StoredSnapshot> = Vec::new();
        for row in self.content().rows.iter().rev().filter(|row| prefix.matches(row.config_hash)) {
            if !found.iter().any(|known| known.config_hash == row.config_hash) {
                found.push(StoredSnapshot { seq: row.seq, config_hash: row.config_hash });
            }
            if found.len() == 2 {
                break;
            }
        }
        Ok(found)
    }

    async fn find_time(&self, at: DateTime<Utc>) -> Result<Seq, StorageError> {
        let content = self.content();
        let found = content.rows.iter().rev().find(|row| row.at <= at.timestamp_micros());
        Ok(found.map_or(Seq(0), |row| row.seq))
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

    async fn store_data_plane(&self, plane: DataPlaneRow) -> Result<(), StorageError> {
        self.content().data_planes.insert(plane.id, plane);
        Ok(())
    }

    async fn data_planes(&self, now: DateTime<Utc>) -> Result<Vec<DataPlaneRow>, StorageError> {
        let mut content = self.content();
        content.data_planes.retain(|_, plane| plane.expires_at > now);
        Ok(content.data_planes.values().cloned().collect())
    }
}
