//! The past: the config at any position of the log, from the nearest stored snapshot and the rows
//! after it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Head;
use crate::domain::catalog::Catalog;
use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, NodeHash};
use crate::log::checkpoint::{Archived, Checkpoint};
use crate::log::moment::{HashPrefix, Moment};
use crate::log::row::{Row, RowError};
use crate::log::{AppendError, EventLog, StorageError, StoredSnapshot};
use crate::snapshot::assembly::Assembly;
use crate::snapshot::{Snapshot, VerifyError};

/// Rows read at once.
const PAGE_LEN: u32 = 1000;

/// Why a config cannot be rebuilt from the log.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error("event log cannot be read")]
    Storage(#[from] StorageError),
    /// A row cannot be read as an event.
    #[error("event log holds what this version cannot read")]
    Row(#[from] RowError),
    /// Events that it takes were moved away, and nothing is stored that stands for them.
    #[error(transparent)]
    Archived(Box<Archived>),
    /// A row is missing or does not follow the one before.
    #[error("event {0} does not follow the event before it")]
    Broken(Seq),
    /// The rows up to here lead elsewhere than the log says.
    #[error("events up to {seq} lead to config {actual}, but the log recorded {recorded}")]
    Mismatch {
        /// The position.
        seq: Seq,
        /// What the log says.
        recorded: ConfigHash,
        /// What comes out.
        actual: ConfigHash,
    },
}

impl ReplayError {
    /// Makes of it the reason of an append that did not happen.
    pub(super) fn into_append_error(self) -> AppendError {
        match self {
            Self::Storage(error) => AppendError::Storage(error),
            Self::Row(error) => AppendError::Unreadable(error.to_string()),
            error => AppendError::Unreadable(error.to_string()),
        }
    }
}

/// Why a moment leads to no config.
#[derive(Debug, thiserror::Error)]
pub enum AtError {
    /// It is after the last event.
    #[error("log ends at {end}, there is no {asked} yet")]
    Beyond {
        /// What was asked for.
        asked: Seq,
        /// The last position.
        end: Seq,
    },
    /// No config has such a hash.
    #[error("no config of this log has a hash that begins with {0}")]
    Unknown(HashPrefix),
    /// No config has such a hash, as far as the log goes back.
    #[error(
        "no config of this log since event {oldest} has a hash that begins with {prefix}; the \
         events before are in archives, the last of them {archive}"
    )]
    UnknownSince {
        /// What was asked for.
        prefix: HashPrefix,
        /// The first event that is still in the log.
        oldest: Seq,
        /// What the last archive was called.
        archive: String,
    },
    /// It is before the first event that is still in the log, and not stored.
    #[error(transparent)]
    Archived(Box<Archived>),
    /// Several configs have such a hash.
    #[error("several configs have a hash that begins with {0}: give more characters")]
    Ambiguous(HashPrefix),
    /// It cannot be rebuilt.
    #[error("config cannot be rebuilt")]
    Replay(#[source] ReplayError),
}

impl<E: Into<ReplayError>> From<E> for AtError {
    fn from(error: E) -> Self {
        match error.into() {
            ReplayError::Archived(archived) => Self::Archived(archived),
            error => Self::Replay(error),
        }
    }
}

/// Why a stored snapshot is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("it cannot be read")]
    Storage(#[from] StorageError),
    /// Its nodes are not the tree that it is named after.
    #[error("a node is damaged")]
    Verify(#[from] VerifyError),
    /// Its nodes are gone.
    #[error("{0} of its nodes are not stored")]
    Missing(usize),
    /// Its position is of another config.
    #[error("the log has another config at this position")]
    Foreign,
}

/// Answers questions about the past of one log.
#[derive(Clone)]
pub struct History {
    log: Arc<dyn EventLog>,
    catalog: Arc<Catalog>,
}

impl History {
    /// Asks `log`, decodes by `catalog`.
    pub fn new(log: Arc<dyn EventLog>, catalog: Arc<Catalog>) -> Self {
        Self { log, catalog }
    }

    /// Returns the log.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// Returns the catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Returns the head of the log as it is now.
    pub async fn newest(&self) -> Result<Head, ReplayError> {
        let start = Arc::new(self.start(Seq(u64::MAX)).await?);
        let head = match self.follow(&start, None).await {
            // Events were moved away since then; the config after them was stored before.
            Err(ReplayError::Archived(_)) => {
                let start = Arc::new(self.start(Seq(u64::MAX)).await?);
                self.follow(&start, None).await?
            }
            followed => followed?,
        };
        Ok(Arc::unwrap_or_clone(head))
    }

    /// Returns the head of a moment.
    pub async fn at(&self, moment: Moment) -> Result<Arc<Head>, AtError> {
        let seq = self.resolve(moment).await?;
        Ok(self.rebuild(seq, None).await?)
    }

    /// Returns the head of a position of the log; `near` is one at hand that may save work.
    pub async fn rebuild(
        &self,
        seq: Seq,
        near: Option<Arc<Head>>,
    ) -> Result<Arc<Head>, ReplayError> {
        let stored = self.log.newest_snapshot(seq).await?.map_or(0, |stored| stored.seq.0);
        // A page of rows is read sooner than a whole snapshot.
        let is_near = |near: &Arc<Head>| {
            near.seq <= seq && stored <= near.seq.0.saturating_add(u64::from(PAGE_LEN))
        };
        if let Some(near) = near.filter(is_near) {
            match self.follow(&near, Some(seq)).await {
                // The rows after it are gone.
                Err(ReplayError::Archived(_)) => {}
                followed => return followed,
            }
        }
        self.follow(&Arc::new(self.start(seq).await?), Some(seq)).await
    }

    /// Returns the position that a moment names.
    pub async fn resolve(&self, moment: Moment) -> Result<Seq, AtError> {
        match moment {
            Moment::Time(at) => {
                let seq = self.log.find_time(at).await?;
                // Before the first event there is nothing, unless events before it were moved away.
                let checkpoints = match seq {
                    Seq(0) => self.log.checkpoints().await?,
                    _ => Vec::new(),
                };
                match Archived::find(&checkpoints, moment) {
                    Some(archived) => Err(AtError::Archived(archived)),
                    None => Ok(seq),
                }
            }
            Moment::Seq(seq) => self.within(seq).await,
            Moment::Hash(prefix) => self.resolve_hash(prefix).await,
        }
    }

    async fn within(&self, asked: Seq) -> Result<Seq, AtError> {
        let end = self.log.tip().await?.seq;
        if asked <= end { Ok(asked) } else { Err(AtError::Beyond { asked, end }) }
    }

    async fn resolve_hash(&self, prefix: HashPrefix) -> Result<Seq, AtError> {
        let found = self.log.find_hash(prefix).await?;
        let empty = Head::empty();
        let is_empty = |found: &StoredSnapshot| found.config_hash == empty.config_hash;
        let start = prefix.matches(empty.config_hash) && !found.iter().any(is_empty);
        match (found.as_slice(), start) {
            ([one], false) => Ok(one.seq),
            ([], true) => Ok(empty.seq),
            ([], false) => match prefix.as_seq() {
                Some(seq) if self.within(seq).await.is_ok() => Ok(seq),
                _ => Err(self.unknown(prefix).await?),
            },
            _ => Err(AtError::Ambiguous(prefix)),
        }
    }

    async fn unknown(&self, prefix: HashPrefix) -> Result<AtError, StorageError> {
        Ok(match self.log.checkpoints().await?.pop() {
            None => AtError::Unknown(prefix),
            Some(Checkpoint { end, archive, .. }) => {
                AtError::UnknownSince { prefix, oldest: end.seq.next(), archive }
            }
        })
    }

    /// Returns the position before the first event that every question can be asked about: that of
    /// the newest checkpoint; 0 if no events were moved away.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub async fn floor(&self) -> Result<Seq, StorageError> {
        let newest = self.log.checkpoints().await?.pop();
        Ok(newest.map_or(Seq(0), |checkpoint| checkpoint.end.seq))
    }

    /// Checks that no event after a position was moved away; returns the floor.
    ///
    /// # Errors
    ///
    /// The first of them was, or the log cannot be read.
    pub async fn expect_events(&self, after: Seq) -> Result<Seq, ReplayError> {
        let checkpoints = self.log.checkpoints().await?;
        match Archived::find(&checkpoints, Moment::Seq(after.next())) {
            Some(archived) => Err(ReplayError::Archived(archived)),
            None => Ok(checkpoints.last().map_or(Seq(0), |newest| newest.end.seq)),
        }
    }

    /// Returns the newest stored head at or before a position; the empty one if there is none.
    async fn start(&self, at: Seq) -> Result<Head, ReplayError> {
        let mut before = at;
        while let Some(stored) = self.log.newest_snapshot(before).await? {
            match self.load(stored).await {
                Ok(head) => return Ok(head),
                Err(error) => {
                    tracing::error!(seq = %stored.seq, config_hash = %stored.config_hash,
                        error = ?error, "a stored snapshot is damaged: going on with an older one");
                }
            }
            match stored.seq.0.checked_sub(1) {
                Some(earlier) => before = Seq(earlier),
                None => break,
            }
        }
        Ok(Head::empty())
    }

    /// Returns the head that a stored snapshot is of, from its nodes alone.
    ///
    /// # Errors
    ///
    /// It is not whole, or not of this log.
    pub async fn load(&self, stored: StoredSnapshot) -> Result<Head, StoreError> {
        let trace = self.log.trace(stored.seq).await?.ok_or(StoreError::Foreign)?;
        if trace.config_hash != stored.config_hash {
            return Err(StoreError::Foreign);
        }
        let mut assembly = Assembly::new(stored.config_hash, None);
        loop {
            let missing = assembly.missing();
            if missing.is_empty() {
                break;
            }
            let nodes: Vec<(_, Bytes)> = self.log.load_nodes(&missing).await?;
            if nodes.len() < missing.len() {
                return Err(StoreError::Missing(missing.len() - nodes.len()));
            }
            for (hash, bytes) in nodes {
                assembly.feed(hash, bytes)?;
            }
        }
        Ok(Head::after(&trace, assembly.finish(&self.catalog)?))
    }

    /// Returns the head at `until`, or at the end of the log, by the rows after `from`.
    pub async fn follow(
        &self,
        from: &Arc<Head>,
        until: Option<Seq>,
    ) -> Result<Arc<Head>, ReplayError> {
        let mut head = from.clone();
        loop {
            let left = until.map_or(u64::MAX, |until| until.0.saturating_sub(head.seq.0));
            let limit = u32::try_from(left).unwrap_or(PAGE_LEN).min(PAGE_LEN);
            if limit == 0 {
                return Ok(head);
            }
            let rows = self.log.read(head.seq, limit).await?;
            match (rows.first(), rows.last()) {
                (Some(first), _) if first.seq > head.seq.next() => {
                    return Err(self.gap(head.seq.next(), until, first.seq).await?);
                }
                (_, Some(last)) => head = Arc::new(self.apply(&head, &rows, last)?),
                (_, None) => return Ok(head),
            }
        }
    }

    /// Returns why `missing` is not there, on the way to `until`, though `found` is.
    async fn gap(
        &self,
        missing: Seq,
        until: Option<Seq>,
        found: Seq,
    ) -> Result<ReplayError, StorageError> {
        let checkpoints = self.log.checkpoints().await?;
        let find = |seq| Archived::find(&checkpoints, Moment::Seq(seq));
        let archived = until.and_then(find).or_else(|| find(missing));
        Ok(archived.map_or(ReplayError::Broken(found), ReplayError::Archived))
    }

    /// Applies rows that follow a head. The tree is hashed once, at the last of them.
    fn apply(&self, head: &Head, rows: &[Row], last: &Row) -> Result<Head, ReplayError> {
        let mut tip = head.tip();
        let mut changes = Vec::new();
        for row in rows {
            if row.seq != tip.seq.next() || row.prev_hash != tip.hash {
                return Err(ReplayError::Broken(row.seq));
            }
            changes.extend(row.decode_changes(&self.catalog)?);
            tip = row.tip();
        }
        let snapshot: Snapshot = head.snapshot.apply(&self.catalog, &changes);
        let (actual, recorded) = (snapshot.hash(), last.config_hash);
        if actual != recorded {
            return Err(ReplayError::Mismatch { seq: last.seq, recorded, actual });
        }
        Ok(Head::after(&last.trace(), snapshot))
    }
}

/// Returns the snapshot that nodes make.
///
/// # Errors
///
/// They are not all of it, or one is damaged.
pub fn assemble(
    config_hash: ConfigHash,
    nodes: Vec<(NodeHash, Bytes)>,
    catalog: &Catalog,
) -> Result<Snapshot, StoreError> {
    let nodes: HashMap<_, _> = nodes.into_iter().collect();
    let mut assembly = Assembly::new(config_hash, None);
    loop {
        let missing = assembly.missing();
        if missing.is_empty() {
            return Ok(assembly.finish(catalog)?);
        }
        let absent = missing.iter().filter(|hash| !nodes.contains_key(*hash)).count();
        if absent > 0 {
            return Err(StoreError::Missing(absent));
        }
        for hash in missing {
            if let Some(bytes) = nodes.get(&hash) {
                assembly.feed(hash, bytes.clone())?;
            }
        }
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("log", &self.log).finish_non_exhaustive()
    }
}
