//! The log in a SQLite file: one connection that writes, a pool that reads.
//!
//! Write-ahead log with `synchronous=FULL`: a commit is on the disk before it answers. The writing
//! connection is thrown away after any failure. The next one first moves the whole write-ahead log
//! into the database file, so that pages of which the system lost a failed `fsync` are written again.

mod promotions;
mod rows;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder, Sqlite};
use tokio::sync::Mutex;

use crate::domain::event::Seq;
use crate::domain::hash::NodeHash;

use super::moment::HashPrefix;
use super::row::Row;
use super::{AppendError, DataPlaneRow, EventLog, Meta, StorageError, StoredSnapshot, Tip};

/// How often the file is asked for new rows.
pub const POLL_INTERVAL_MS: u64 = 100;

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT_MS: u64 = 5_000;

const READERS_MAX: u32 = 4;

/// Rows or nodes in one statement.
const BATCH_LEN: usize = 64;

/// A log in a SQLite file.
#[derive(Debug)]
pub struct SqliteLog {
    path: PathBuf,
    readers: SqlitePool,
    /// Taken out for the time of a transaction, so that a failed one drops it.
    writer: Mutex<Option<SqliteConnection>>,
}

impl SqliteLog {
    /// Opens the log in a file and brings its tables up to date; makes the file, readable by its
    /// owner alone, if there is none.
    pub async fn open(path: &Path) -> Result<Self, StorageError> {
        create_private(path)?;
        let mut connection = options(path).connect().await?;
        sqlx::migrate!("migrations/sqlite")
            .run(&mut connection)
            .await
            .map_err(StorageError::Migrate)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_lazy_with(options(path).pragma("query_only", "on"));
        Ok(Self { path: path.to_owned(), readers, writer: Mutex::new(Some(connection)) })
    }

    /// Opens the log in a file that must be there already.
    pub async fn open_existing(path: &Path) -> Result<Self, StorageError> {
        if !path.exists() {
            return Err(sqlx::Error::Io(std::io::ErrorKind::NotFound.into()).into());
        }
        Self::open(path).await
    }

    /// Closes all connections, so that the write-ahead log is folded into the file.
    pub async fn close(&self) {
        if let Some(connection) = self.writer.lock().await.take() {
            let _ = connection.close().await;
        }
        self.readers.close().await;
    }

    /// Runs any statement on the file, as whoever tampers with it would.
    #[cfg(test)]
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = options(&self.path).connect().await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }

    /// Appends rows by one statement, which is a transaction of its own: each further statement
    /// would be handed to SQLite's thread and back. Returns whether the tip was as expected.
    async fn append_at_once(&self, expected: Tip, rows: &[Row]) -> Result<bool, sqlx::Error> {
        let mut slot = self.writer.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => reconnect(&self.path).await?,
        };
        let mut query = QueryBuilder::<Sqlite>::new(INSERT);
        query.push("SELECT * FROM (");
        push_rows(&mut query, rows);
        query.push(
            ") WHERE COALESCE((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), zeroblob(32)) = ",
        );
        query.push_bind(expected.hash.0.as_slice());
        let appended = query.build().execute(&mut connection).await?.rows_affected();
        *slot = Some(connection);
        Ok(appended > 0)
    }

    /// Runs one transaction on the writing connection.
    async fn transact<T, E: From<sqlx::Error>>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut slot = self.writer.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => reconnect(&self.path).await?,
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        match work(&mut transaction).await {
            Ok(value) => {
                transaction.commit().await?;
                *slot = Some(connection);
                Ok(value)
            }
            Err(error) => {
                if transaction.rollback().await.is_ok() {
                    *slot = Some(connection);
                }
                Err(error)
            }
        }
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))
        .disable_statement_logging()
}

/// Makes the file before SQLite would, because the log holds keys and passwords.
/// A file that is there is not opened: closing it again would drop the locks that this process
/// holds on it, and another process would then take the write-ahead log away from under us.
fn create_private(path: &Path) -> Result<(), StorageError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if path.exists() {
        return Ok(());
    }
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    file.map(drop).map_err(|error| sqlx::Error::Io(error).into())
}

/// Opens a writing connection after a failure: not before everything that the write-ahead log
/// holds is in the database file.
async fn reconnect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = options(path).connect().await?;
    let query = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)");
    let (busy, _, _): (i64, i64, i64) = query.fetch_one(&mut connection).await?;
    if busy == 0 { Ok(connection) } else { Err(sqlx::Error::PoolTimedOut) }
}

const TIP: &str = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1";

const READ: &str = "SELECT seq, format, at, actor, request_id, source, kind, reason, config_hash, \
                    prev_hash, hash, changes FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";

const INSERT: &str = "INSERT INTO events (seq, format, at, actor, request_id, source, kind, \
                      reason, config_hash, prev_hash, hash, changes) ";

async fn insert(connection: &mut SqliteConnection, rows: &[Row]) -> Result<(), AppendError> {
    for batch in rows.chunks(BATCH_LEN) {
        let mut query = QueryBuilder::<Sqlite>::new(INSERT);
        push_rows(&mut query, batch);
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

fn push_rows<'a>(query: &mut QueryBuilder<'a, Sqlite>, rows: &'a [Row]) {
    query.push_values(rows, |mut values, row| {
        values
            .push_bind(rows::integer(row.seq.0))
            .push_bind(rows::integer(row.format))
            .push_bind(row.at)
            .push_bind(row.actor.as_str())
            .push_bind(row.request_id.as_str())
            .push_bind(row.source.as_str())
            .push_bind(row.kind.as_str())
            .push_bind(row.reason.as_deref())
            .push_bind(row.config_hash.0.as_slice())
            .push_bind(row.prev_hash.0.as_slice())
            .push_bind(row.hash.0.as_slice())
            .push_bind(row.changes.as_str());
    });
}

async fn tip_of(connection: &mut SqliteConnection) -> Result<Tip, StorageError> {
    match sqlx::query(TIP).fetch_optional(connection).await? {
        Some(row) => rows::tip(&row),
        None => Ok(Tip::START),
    }
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn tip(&self) -> Result<Tip, StorageError> {
        tip_of(&mut *self.readers.acquire().await?).await
    }

    async fn append(&self, expected: Tip, rows: &[Row]) -> Result<(), AppendError> {
        if rows.len() <= BATCH_LEN && self.append_at_once(expected, rows).await? {
            return Ok(());
        }
        self.transact(async |connection| {
            let actual = tip_of(connection).await?;
            if actual != expected {
                let (expected, actual) = (expected.seq, actual.seq);
                return Err(AppendError::Conflict { expected, actual });
            }
            insert(connection, rows).await
        })
        .await
    }

    async fn read(&self, after: Seq, limit: u32) -> Result<Vec<Row>, StorageError> {
        let query = sqlx::query(READ).bind(rows::integer(after.0)).bind(limit);
        let found = query.fetch_all(&self.readers).await?;
        found.iter().map(rows::event).collect()
    }

    async fn changed(&self, after: Seq) -> Result<(), StorageError> {
        loop {
            tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
            if self.tip().await?.seq != after {
                return Ok(());
            }
        }
    }

    async fn find_hash(&self, prefix: HashPrefix) -> Result<Vec<StoredSnapshot>, StorageError> {
        let (low, high) = prefix.range();
        let query = sqlx::query(
            "SELECT MAX(seq) AS seq, config_hash FROM events \
             WHERE config_hash BETWEEN $1 AND $2 \
             GROUP BY config_hash ORDER BY 1 DESC LIMIT 2",
        );
        let query = query.bind(low.0.to_vec()).bind(high.0.to_vec());
        let found = query.fetch_all(&self.readers).await?;
        found.iter().map(|row| rows::snapshot("events", row)).collect()
    }

    async fn find_time(&self, at: DateTime<Utc>) -> Result<Seq, StorageError> {
        let query = sqlx::query("SELECT seq FROM events WHERE at <= $1 ORDER BY seq DESC LIMIT 1");
        let found = query.bind(at.timestamp_micros()).fetch_optional(&self.readers).await?;
        found.map_or(Ok(Seq(0)), |row| rows::seq("events", &row))
    }

    async fn meta(&self, fresh: Meta) -> Result<Meta, StorageError> {
        self.transact(async |connection| {
            let values = [
                ("cluster_id", fresh.cluster_id.as_bytes().to_vec()),
                ("signing_key", fresh.signing_key),
            ];
            for (name, value) in values {
                sqlx::query(
                    "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .bind(name)
                .bind(value)
                .execute(&mut *connection)
                .await?;
            }
            let found =
                sqlx::query_as("SELECT name, value FROM meta").fetch_all(connection).await?;
            rows::meta(found)
        })
        .await
    }

    async fn store_snapshot(
        &self,
        snapshot: StoredSnapshot,
        nodes: Vec<(NodeHash, Bytes)>,
    ) -> Result<(), StorageError> {
        self.transact(async |connection| {
            for batch in nodes.chunks(BATCH_LEN) {
                let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO nodes (hash, bytes) ");
                query.push_values(batch, |mut values, (hash, bytes)| {
                    values.push_bind(hash.0.as_slice()).push_bind(bytes.as_ref());
                });
                // A damaged node is mended by the next one that stores it.
                query.push(" ON CONFLICT (hash) DO UPDATE SET bytes = excluded.bytes");
                query.build().execute(&mut *connection).await?;
            }
            sqlx::query("INSERT OR REPLACE INTO snapshots (seq, config_hash) VALUES ($1, $2)")
                .bind(rows::integer(snapshot.seq.0))
                .bind(snapshot.config_hash.0.as_slice())
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
    }

    async fn newest_snapshot(&self, at: Seq) -> Result<Option<StoredSnapshot>, StorageError> {
        let query = sqlx::query(
            "SELECT seq, config_hash FROM snapshots WHERE seq <= $1 ORDER BY seq DESC LIMIT 1",
        );
        let found = query.bind(rows::integer(at.0)).fetch_optional(&self.readers).await?;
        found.map(|row| rows::snapshot("snapshots", &row)).transpose()
    }

    async fn forget_snapshot(&self, seq: Seq) -> Result<(), StorageError> {
        self.transact(async |connection| {
            let query = sqlx::query("DELETE FROM snapshots WHERE seq = $1");
            query.bind(rows::integer(seq.0)).execute(connection).await?;
            Ok(())
        })
        .await
    }

    async fn load_nodes(
        &self,
        hashes: &[NodeHash],
    ) -> Result<Vec<(NodeHash, Bytes)>, StorageError> {
        let mut nodes = Vec::with_capacity(hashes.len());
        for batch in hashes.chunks(BATCH_LEN) {
            let mut query =
                QueryBuilder::<Sqlite>::new("SELECT hash, bytes FROM nodes WHERE hash IN (");
            let mut list = query.separated(", ");
            for hash in batch {
                list.push_bind(hash.0.as_slice());
            }
            query.push(")");
            for row in query.build().fetch_all(&self.readers).await? {
                nodes.push(rows::node(&row)?);
            }
        }
        Ok(nodes)
    }

    async fn store_data_plane(&self, plane: DataPlaneRow) -> Result<(), StorageError> {
        self.transact(async |connection| {
            sqlx::query(
                "INSERT OR REPLACE INTO data_planes (id, row, expires_at) VALUES ($1, $2, $3)",
            )
            .bind(plane.id.as_bytes().as_slice())
            .bind(plane.row.as_str())
            .bind(plane.expires_at.timestamp_millis())
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    async fn data_planes(&self, now: DateTime<Utc>) -> Result<Vec<DataPlaneRow>, StorageError> {
        let found: Vec<(Vec<u8>, String, i64)> =
            sqlx::query_as("SELECT id, row, expires_at FROM data_planes ORDER BY id")
                .fetch_all(&self.readers)
                .await?;
        let (live, expired): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, _, expires_at)| *expires_at > now.timestamp_millis());
        if !expired.is_empty() {
            self.transact(async |connection| {
                let query = sqlx::query("DELETE FROM data_planes WHERE expires_at <= $1");
                query.bind(now.timestamp_millis()).execute(connection).await?;
                Ok::<_, StorageError>(())
            })
            .await?;
        }
        live.into_iter().map(rows::data_plane).collect()
    }
}
