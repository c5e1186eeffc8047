//! The event log over any database that runs statements.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::cells::{self, Cells};
use super::{SqlDatabase, Statement, compaction, settle, sweep};
use crate::domain::event::Seq;
use crate::domain::hash::{EventHash, GENESIS, NodeHash};
use crate::log::checkpoint::{Checkpoint, Trace};
use crate::log::moment::HashPrefix;
use crate::log::row::Row;
use crate::log::{AppendError, EventLog, Meta, StorageError, StoredSnapshot, Tip};

/// Rows or nodes in one statement.
const BATCH_LEN: usize = 64;

/// Returns the statement that appends rows to a log that ends with `tip`, and to no other.
pub(super) fn insert<'a>(tip: &'a EventHash, rows: &'a [Row]) -> Statement<'a> {
    let text = "INSERT INTO events (seq, format, at, actor, request_id, source, kind, reason, \
                config_hash, prev_hash, hash, changes) SELECT * FROM (";
    let end = "SELECT hash FROM events ORDER BY seq DESC LIMIT 1";
    let base = "SELECT hash FROM checkpoints ORDER BY seq DESC LIMIT 1";
    let insert = Statement::new(text).rows(rows, |values, row| {
        values
            .unsigned(row.seq.0)
            .unsigned(row.format)
            .integer(row.at)
            .text(row.actor.as_str())
            .text(row.request_id.as_str())
            .text(row.source.as_str())
            .text(row.kind.as_str())
            .text(row.reason.as_deref())
            .bytes(&row.config_hash.0)
            .bytes(&row.prev_hash.0)
            .bytes(&row.hash.0)
            .text(row.changes.as_str())
    });
    let insert = insert.then(") AS fresh WHERE COALESCE((").then(end).then("), (").then(base);
    let insert = insert.then("), ").then_place();
    insert.bytes(&GENESIS.0).then(") = ").then_place().bytes(&tip.0)
}

/// Returns the statements that append rows after `expected`. Each holds only where the one before
/// it did, so that all of them write their rows or none.
fn inserts<'a>(expected: &'a Tip, rows: &'a [Row]) -> Vec<Statement<'a>> {
    let tips = std::iter::once(&expected.hash)
        .chain(rows.chunks(BATCH_LEN).filter_map(|batch| batch.last().map(|row| &row.hash)));
    tips.zip(rows.chunks(BATCH_LEN)).map(|(tip, batch)| insert(tip, batch)).collect()
}

/// What became of an attempt to append.
enum Attempt {
    Appended,
    /// The log ends elsewhere.
    Refused,
    /// Nobody knows.
    Lost(sqlx::Error),
}

async fn attempt<D: SqlDatabase>(
    database: &D,
    expected: Tip,
    rows: &[Row],
) -> Result<Attempt, sqlx::Error> {
    match database.transact(inserts(&expected, rows)).await {
        Ok(0) => Ok(Attempt::Refused),
        Ok(_) => Ok(Attempt::Appended),
        // Both looked before either wrote: the primary key decided.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Attempt::Refused),
        Err(error) if D::is_lost(&error) => Ok(Attempt::Lost(error)),
        Err(error) => Err(error),
    }
}

/// Returns whether the log holds a row.
async fn holds<D: SqlDatabase>(database: &D, row: &Row) -> Result<bool, StorageError> {
    let query = Statement::new("SELECT hash FROM events WHERE seq = $1").unsigned(row.seq.0);
    let found = database.fetch(query).await?;
    let hash = found.first().map(|found| Cells::new("events", found).hash("hash")).transpose()?;
    Ok(hash == Some(row.hash.0))
}

#[async_trait]
impl<D: SqlDatabase> EventLog for D {
    async fn tip(&self) -> Result<Tip, StorageError> {
        let query = Statement::new("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1");
        if let Some(row) = self.fetch(query).await?.first() {
            return cells::tip(row);
        }
        // Only while the rows after a checkpoint are on their way from a file.
        let newest = self.checkpoints().await?.pop();
        Ok(newest.map_or(Tip::START, |checkpoint| checkpoint.end.tip()))
    }

    async fn append(&self, expected: Tip, rows: &[Row]) -> Result<(), AppendError> {
        let Some(last) = rows.last() else { return Ok(()) };
        let appended = match attempt(self, expected, rows).await? {
            Attempt::Appended => true,
            Attempt::Refused => false,
            // The rows are there or they are not: a second attempt is refused if they are.
            Attempt::Lost(_) => match attempt(self, expected, rows).await? {
                Attempt::Appended => true,
                Attempt::Refused => holds(self, last).await?,
                Attempt::Lost(error) => return Err(error.into()),
            },
        };
        if appended {
            return Ok(());
        }
        let (expected, actual) = (expected.seq, self.tip().await?.seq);
        Err(AppendError::Conflict { expected, actual })
    }

    async fn settle(&self, tip: Tip) -> Result<(), StorageError> {
        settle::appends(self, tip).await?;
        Ok(settle::writes(self).await?)
    }

    async fn read(&self, after: Seq, limit: u32) -> Result<Vec<Row>, StorageError> {
        let query = Statement::new(
            "SELECT seq, format, at, actor, request_id, source, kind, reason, config_hash, \
             prev_hash, hash, changes FROM events WHERE seq > $1 ORDER BY seq LIMIT $2",
        );
        let query = query.unsigned(after.0).unsigned(limit.into());
        self.fetch(query).await?.iter().map(cells::event).collect()
    }

    async fn changed(&self, after: Seq) -> Result<(), StorageError> {
        self.wait(after).await
    }

    async fn find_hash(&self, prefix: HashPrefix) -> Result<Vec<StoredSnapshot>, StorageError> {
        let (low, high) = prefix.range();
        let query = Statement::new(
            "SELECT MAX(seq) AS seq, config_hash FROM (\
             SELECT seq, config_hash FROM events WHERE config_hash BETWEEN $1 AND $2 \
             UNION ALL SELECT seq, config_hash FROM snapshots \
             WHERE config_hash BETWEEN $1 AND $2 AND event_hash IS NOT NULL) AS known \
             GROUP BY config_hash ORDER BY 1 DESC LIMIT 2",
        );
        let found = self.fetch(query.bytes(&low.0).bytes(&high.0)).await?;
        found.iter().map(|row| cells::snapshot("events", row)).collect()
    }

    async fn find_time(&self, at: DateTime<Utc>) -> Result<Seq, StorageError> {
        let query =
            Statement::new("SELECT seq FROM events WHERE at <= $1 ORDER BY seq DESC LIMIT 1");
        let found = self.fetch(query.integer(at.timestamp_micros())).await?;
        if let Some(row) = found.first() {
            return cells::seq("events", row);
        }
        let newest = self.checkpoints().await?.pop();
        let newest = newest.filter(|checkpoint| checkpoint.end.at <= at.timestamp_micros());
        Ok(newest.map_or(Seq(0), |checkpoint| checkpoint.end.seq))
    }

    async fn meta(&self, fresh: Meta) -> Result<Meta, StorageError> {
        // A node whose disk takes no writes now can start on what is there.
        let stored = self.fetch(Statement::new("SELECT name, value FROM meta")).await?;
        if let Ok(meta) = cells::meta(&stored) {
            return Ok(meta);
        }
        let insert = || {
            Statement::new("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        };
        let cluster_id = insert().text("cluster_id").bytes(fresh.cluster_id.as_bytes());
        let signing_key = insert().text("signing_key").bytes(&fresh.signing_key);
        let epoch = fresh.epoch.to_be_bytes();
        let epoch = insert().text("epoch").bytes(&epoch);
        self.transact(vec![cluster_id, signing_key, epoch]).await?;
        cells::meta(&self.fetch(Statement::new("SELECT name, value FROM meta")).await?)
    }

    async fn raise_epoch(&self, epoch: u64) -> Result<(), StorageError> {
        let raise = Statement::new(
            "INSERT INTO meta (name, value) VALUES ('epoch', $1) ON CONFLICT (name) \
             DO UPDATE SET value = excluded.value WHERE excluded.value > meta.value",
        );
        self.transact(vec![raise.bytes(&epoch.to_be_bytes())]).await?;
        Ok(())
    }

    async fn store_snapshot(
        &self,
        snapshot: StoredSnapshot,
        base: Option<StoredSnapshot>,
        mut nodes: Vec<(NodeHash, Bytes)>,
    ) -> Result<bool, StorageError> {
        // In one order everywhere, so that no two control planes wait for each other's rows.
        nodes.sort_unstable_by_key(|(hash, _)| *hash);
        self.transact(sweep::store(&snapshot, base.as_ref(), &nodes)).await?;
        if base.is_none() {
            return Ok(true);
        }
        // If it is there, it is whole, whoever stored it.
        Ok(self.newest_snapshot(snapshot.seq).await? == Some(snapshot))
    }

    async fn newest_snapshot(&self, at: Seq) -> Result<Option<StoredSnapshot>, StorageError> {
        let query = Statement::new(
            "SELECT seq, config_hash FROM snapshots WHERE seq <= $1 ORDER BY seq DESC LIMIT 1",
        );
        let found = self.fetch(query.unsigned(at.0)).await?;
        found.first().map(|row| cells::snapshot("snapshots", row)).transpose()
    }

    async fn stored_snapshots(&self) -> Result<Vec<StoredSnapshot>, StorageError> {
        let query = Statement::new("SELECT seq, config_hash FROM snapshots ORDER BY seq");
        self.fetch(query).await?.iter().map(|row| cells::snapshot("snapshots", row)).collect()
    }

    async fn forget_snapshot(&self, seq: Seq) -> Result<(), StorageError> {
        self.transact(sweep::forget(seq)).await?;
        Ok(())
    }

    async fn stored_nodes(
        &self,
        after: Option<NodeHash>,
        limit: u32,
    ) -> Result<Vec<NodeHash>, StorageError> {
        let query = Statement::new("SELECT hash FROM nodes WHERE hash > $1 ORDER BY hash LIMIT $2");
        // No hash comes before no bytes.
        let after = after.as_ref().map_or(&[][..], |hash| &hash.0);
        let found = self.fetch(query.bytes(after).unsigned(limit.into())).await?;
        found.iter().map(|row| Cells::new("nodes", row).hash("hash").map(NodeHash)).collect()
    }

    async fn remove_nodes(
        &self,
        stored: &[StoredSnapshot],
        nodes: &[NodeHash],
    ) -> Result<bool, StorageError> {
        Ok(self.transact(sweep::remove(stored, nodes)).await? > 1)
    }

    async fn load_nodes(
        &self,
        hashes: &[NodeHash],
    ) -> Result<Vec<(NodeHash, Bytes)>, StorageError> {
        let mut nodes = Vec::with_capacity(hashes.len());
        for batch in hashes.chunks(BATCH_LEN) {
            let query = Statement::new("SELECT hash, bytes FROM nodes WHERE hash IN (");
            let query = query.rows(batch, |values, hash| values.bytes(&hash.0)).then(")");
            for row in self.fetch(query).await? {
                nodes.push(cells::node(&row)?);
            }
        }
        Ok(nodes)
    }

    async fn trace(&self, seq: Seq) -> Result<Option<Trace>, StorageError> {
        let found = self.fetch(compaction::trace(seq)).await?;
        found.first().map(|row| cells::trace("events", row)).transpose()
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StorageError> {
        let found = self.fetch(compaction::checkpoints()).await?;
        found.iter().map(cells::checkpoint).collect()
    }

    async fn record_checkpoints(&self, checkpoints: &[Checkpoint]) -> Result<bool, StorageError> {
        let Some(last) = checkpoints.last() else { return Ok(true) };
        // The turn, the checkpoints, and the trace of the last one.
        let wanted = checkpoints.len() as u64 + 2;
        Ok(self.transact(compaction::record(checkpoints, last)).await? == wanted)
    }

    async fn remove_archived(&self, limit: u32) -> Result<Option<Seq>, StorageError> {
        let Some(newest) = self.checkpoints().await?.pop() else { return Ok(None) };
        let oldest = self.fetch(compaction::oldest(newest.end.seq)).await?;
        let Some(oldest) = oldest.first() else { return Ok(None) };
        let oldest = cells::seq("events", oldest)?.0;
        let last = oldest.saturating_add(u64::from(limit).saturating_sub(1));
        let last = Seq(last).min(newest.end.seq);
        self.transact(compaction::remove(last)).await?;
        Ok(Some(last))
    }
}
