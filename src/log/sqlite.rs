//! The log in a SQLite file: one connection that writes, a pool that reads.
//!
//! Write-ahead log with `synchronous=FULL`: a commit is on the disk before it answers. The writing
//! connection is thrown away after any failure. The next one first moves the whole write-ahead log
//! into the database file, so that pages of which the system lost a failed `fsync` are written again,
//! and what a failed commit left behind is cut off before another process could take it for one.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite};
use tokio::sync::Mutex;

use super::fault::Fault;
use super::migrations::{self, Migrations, SchemaState};
use super::sql::{SqlDatabase, Statement};
use super::{EventLog as _, StorageError};
use crate::domain::event::Seq;
use crate::failpoint;

/// How often the file is asked for new rows.
pub const POLL_INTERVAL_MS: u64 = 100;

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT_MS: u64 = 5_000;

const READERS_MAX: u32 = 4;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// A log in a SQLite file.
#[derive(Debug)]
pub struct SqliteLog {
    path: PathBuf,
    readers: RwLock<SqlitePool>,
    /// Taken out for the time of a transaction, so that a failed one drops it.
    writer: Mutex<Option<SqliteConnection>>,
}

impl SqliteLog {
    /// Opens the log in a file and brings its tables up to date; makes the file, readable by its
    /// owner alone, if there is none.
    pub async fn open(path: &Path) -> Result<Self, StorageError> {
        let log = Self::unprepared(path);
        log.migrate().await?;
        Ok(log)
    }

    /// Opens a file whatever tables it has; it need not be there.
    pub fn unprepared(path: &Path) -> Self {
        let readers = RwLock::new(read_pool(path));
        Self { path: path.to_owned(), readers, writer: Mutex::new(None) }
    }

    fn readers(&self) -> SqlitePool {
        self.readers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens a writing connection. What was opened while the file took no writes keeps all that
    /// follows from writing, so it goes.
    async fn reconnect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let connection = reconnect(&self.path).await;
        if connection.as_ref().is_err_and(|error| Fault::of(error) == Fault::ReadOnly) {
            let stale = {
                let mut readers = self.readers.write().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *readers, read_pool(&self.path))
            };
            stale.close().await;
        }
        connection
    }

    /// Runs any statement on the file, as whoever tampers with it would.
    #[cfg(test)]
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = options(&self.path).connect().await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
}

fn read_pool(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .connect_lazy_with(options(path).pragma("query_only", "on"))
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

#[async_trait]
impl SqlDatabase for SqliteLog {
    type Row = SqliteRow;

    async fn fetch(&self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, sqlx::Error> {
        statement.query::<Sqlite>().fetch_all(&self.readers()).await
    }

    async fn transact(&self, statements: Vec<Statement<'_>>) -> Result<u64, sqlx::Error> {
        let mut slot = self.writer.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.reconnect().await?,
        };
        // A statement alone is a transaction of its own: `BEGIN` and `COMMIT` would each be
        // handed to SQLite's thread and back.
        if let [statement] = statements.as_slice() {
            failpoint::hit("sqlite.alone");
            let done = statement.query::<Sqlite>().execute(&mut connection).await;
            failpoint::hit("sqlite.committed");
            let refused = |error: &sqlx::Error| {
                error.as_database_error().is_some_and(|it| it.is_unique_violation())
            };
            if done.as_ref().err().is_none_or(refused) {
                *slot = Some(connection);
            }
            return Ok(done?.rows_affected());
        }
        let mut written = 0;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for statement in &statements {
            failpoint::hit("sqlite.within");
            let done = statement.query::<Sqlite>().execute(&mut *transaction).await?;
            written += done.rows_affected();
        }
        failpoint::hit("sqlite.commit");
        transaction.commit().await?;
        failpoint::hit("sqlite.committed");
        *slot = Some(connection);
        Ok(written)
    }

    fn is_lost(_: &sqlx::Error) -> bool {
        // There is no way that could break: a file fails or it does not.
        false
    }

    fn vacuum_statement() -> Option<&'static str> {
        Some("VACUUM")
    }

    async fn shut(&self) {
        // The last connection to go folds the write-ahead log into the file.
        if let Some(connection) = self.writer.lock().await.take() {
            let _ = connection.close().await;
        }
        self.readers().close().await;
    }

    async fn wait(&self, after: Seq) -> Result<(), StorageError> {
        loop {
            tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
            if self.tip().await?.seq != after {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl Migrations for SqliteLog {
    async fn state(&self) -> Result<SchemaState, StorageError> {
        if !self.path.exists() {
            return Ok(SchemaState::untouched(&MIGRATIONS));
        }
        let known = "SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'";
        SchemaState::of(self, &MIGRATIONS, Statement::new(known)).await
    }

    async fn migrate(&self) -> Result<(), StorageError> {
        create_private(&self.path)?;
        failpoint::hit("sqlite.created");
        let mut connection = options(&self.path).connect().await?;
        failpoint::hit("sqlite.migrate");
        MIGRATIONS.run_direct(&mut connection).await.map_err(StorageError::Migrate)?;
        failpoint::hit("sqlite.migrated");
        *self.writer.lock().await = Some(connection);
        Ok(())
    }

    async fn reset(&self) -> Result<(), StorageError> {
        migrations::drop_tables(self, &[]).await
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
