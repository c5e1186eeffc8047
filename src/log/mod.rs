//! The append-only event log: one row an accepted write, chained by hash.
//!
//! [`EventLog`] is what the layers above see; what its backends share is in [`sql`]. The log is the
//! truth; stored snapshots only shorten the start and the way to an old position.
//!
//! Invariants:
//! - rows are never changed, and their seqs have no gap; the oldest go, once they are in an archive
//!   and a [`checkpoint`] stands for them;
//! - `append` is all or nothing, and durable when it answers `Ok`;
//! - order is the order of seqs; times and ids never decide anything;
//! - the log knows no catalog: changes stay text until [`Row::event`] is asked for them.
//!
//! To add a backend: a file or folder here ([`sql::SqlDatabase`]), its migrations, one line in
//! `tests/it/log_contract.rs`.

pub mod archive;
pub mod checkpoint;
pub mod fault;
pub mod fleet;
pub mod memory;
pub mod migrations;
pub mod moment;
pub mod postgres;
pub mod promotions;
pub mod row;
pub mod sql;
pub mod sqlite;
pub mod tokens;
pub mod transfer;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, EventHash, GENESIS, NodeHash};

use self::checkpoint::{Checkpoint, Trace};
use self::fleet::FleetStore;
use self::migrations::SchemaError;
use self::moment::HashPrefix;
use self::promotions::PromotionStore;
use self::row::Row;
use self::tokens::TokenStore;

/// The end of the log: its last row's position and hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    /// The last position; 0 when the log is empty.
    pub seq: Seq,
    /// The hash that the next row names as its predecessor.
    pub hash: EventHash,
}

impl Tip {
    /// The end of an empty log.
    pub const START: Self = Self { seq: Seq(0), hash: GENESIS };
}

/// What a database holds once, made when it is first opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// The cluster's identity.
    pub cluster_id: Uuid,
    /// The private key that signs heads (ed25519; the log does not look inside).
    pub signing_key: Vec<u8>,
    /// Which life of the log this is: raised when an older copy of the database takes over, so
    /// that data planes follow it although its positions are older than theirs.
    pub epoch: u64,
}

impl std::fmt::Debug for Meta {
    /// Leaves the key out: it is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta")
            .field("cluster_id", &self.cluster_id)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// A stored snapshot: which config, and the position that it was stored for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredSnapshot {
    /// The position.
    pub seq: Seq,
    /// The config there.
    pub config_hash: ConfigHash,
}

/// Why the database did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database failed or could not be reached.
    #[error("database failed")]
    Database(#[source] sqlx::Error),
    /// Its tables could not be brought to this version.
    #[error("database could not be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Its tables are not of this version.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It holds something that this program never writes.
    #[error("{table} row {row}: column {column} is damaged")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// The column.
        column: &'static str,
    },
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Why an append did not happen. Callers retry the first and report the second.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Someone else wrote first: catch up, decide again.
    #[error("log head is {actual}, expected {expected}")]
    Conflict {
        /// Where the caller thought that the log ends.
        expected: Seq,
        /// Where it ends.
        actual: Seq,
    },
    /// The rows may be there or not: the caller reads the tail to know.
    #[error("log storage failed")]
    Storage(#[source] StorageError),
    /// The log has grown by something that this program cannot follow.
    #[error("log cannot be followed: {0}")]
    Unreadable(String),
    /// The log does not hold what it once took: its disk did not keep it, or it is another log.
    #[error("log ends with event {actual}, and event {expected} was acknowledged")]
    Lost {
        /// The last position that was acknowledged.
        expected: Seq,
        /// Where the log ends.
        actual: Seq,
    },
}

impl<E: Into<StorageError>> From<E> for AppendError {
    fn from(error: E) -> Self {
        Self::Storage(error.into())
    }
}

/// A database that holds one cluster's log and what is stored beside it.
#[async_trait]
pub trait EventLog: Send + Sync + std::fmt::Debug {
    /// Returns the end of the log.
    async fn tip(&self) -> Result<Tip, StorageError>;

    /// Appends rows after `expected`, in one transaction: durable before it answers `Ok`.
    /// The rows follow each other and the first one follows `expected`.
    async fn append(&self, expected: Tip, rows: &[Row]) -> Result<(), AppendError>;

    /// Makes sure, after a failure, that nothing which was given up can still appear behind `tip`,
    /// and that the database takes what is appended there and keeps it on its disk.
    async fn settle(&self, tip: Tip) -> Result<(), StorageError>;

    /// Returns up to `limit` rows after a position, oldest first.
    async fn read(&self, after: Seq, limit: u32) -> Result<Vec<Row>, StorageError>;

    /// Waits until rows after `after` may be there; a hint that can be early, and late by no more
    /// than the poll interval.
    async fn changed(&self, after: Seq) -> Result<(), StorageError>;

    /// Returns the configs whose hash begins so, each with its last position, newest first;
    /// two at most, which is enough to know that a prefix is ambiguous. Of configs whose events are
    /// gone only those are found that are stored.
    async fn find_hash(&self, prefix: HashPrefix) -> Result<Vec<StoredSnapshot>, StorageError>;

    /// Returns the last position whose time is not after `at`, the newest checkpoint included; 0
    /// when there is none.
    async fn find_time(&self, at: DateTime<Utc>) -> Result<Seq, StorageError>;

    /// Returns what the database holds once; stores `fresh` first if it holds nothing yet.
    async fn meta(&self, fresh: Meta) -> Result<Meta, StorageError>;

    /// Stores a later epoch; one that is not later than the stored one changes nothing.
    /// Whoever calls it has asked for [`meta`](Self::meta) before.
    async fn raise_epoch(&self, epoch: u64) -> Result<(), StorageError>;

    /// Stores a snapshot and the nodes of it that `base` does not have, all or nothing. Nothing is
    /// stored, and the answer is false, if `base` is not stored any more: its nodes may be gone.
    async fn store_snapshot(
        &self,
        snapshot: StoredSnapshot,
        base: Option<StoredSnapshot>,
        nodes: Vec<(NodeHash, Bytes)>,
    ) -> Result<bool, StorageError>;

    /// Returns the newest stored snapshot at or before a position.
    async fn newest_snapshot(&self, at: Seq) -> Result<Option<StoredSnapshot>, StorageError>;

    /// Returns every stored snapshot, in order of position.
    async fn stored_snapshots(&self) -> Result<Vec<StoredSnapshot>, StorageError>;

    /// Forgets that a snapshot is stored for a position; its nodes stay.
    async fn forget_snapshot(&self, seq: Seq) -> Result<(), StorageError>;

    /// Returns up to `limit` hashes of stored nodes after one, in order.
    async fn stored_nodes(
        &self,
        after: Option<NodeHash>,
        limit: u32,
    ) -> Result<Vec<NodeHash>, StorageError>;

    /// Removes nodes, if exactly these snapshots are stored, in order of position; else removes
    /// nothing and answers false: somebody stored one that may need the nodes.
    async fn remove_nodes(
        &self,
        stored: &[StoredSnapshot],
        nodes: &[NodeHash],
    ) -> Result<bool, StorageError>;

    /// Returns those of the nodes that are stored, in any order. Their bytes are not verified.
    async fn load_nodes(&self, hashes: &[NodeHash])
    -> Result<Vec<(NodeHash, Bytes)>, StorageError>;

    /// Returns the position, time and hashes of an event that is there, or that is gone while its
    /// config is stored.
    async fn trace(&self, seq: Seq) -> Result<Option<Trace>, StorageError>;

    /// Returns where archives end, oldest first.
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StorageError>;

    /// Records checkpoints that follow each other: durable when it answers true. Nothing is recorded,
    /// and the answer is false, unless the first one follows the newest that is recorded, the config
    /// of the last one is stored for its position, and its event is there or the log has none at all.
    async fn record_checkpoints(&self, checkpoints: &[Checkpoint]) -> Result<bool, StorageError>;

    /// Removes up to `limit` of the oldest rows that are not after the newest checkpoint, in one
    /// transaction; what is stored for them keeps its [`trace`](Self::trace). Returns the last one
    /// removed; none when none was left.
    async fn remove_archived(&self, limit: u32) -> Result<Option<Seq>, StorageError>;
}

/// A database with all that a control plane keeps in one.
#[async_trait]
pub trait LogDatabase: EventLog + TokenStore + PromotionStore + FleetStore {
    /// Gives the space of removed rows back to the file system, which takes as long as to write the
    /// database again, and lets nobody else write meanwhile. Returns false where the database does
    /// so by itself.
    async fn vacuum(&self) -> Result<bool, StorageError>;

    /// Closes it, so that whoever opens it next has the least to do.
    async fn close(&self);
}
