//! The log in a Postgres database, which any number of control planes share.
//!
//! Each statement borrows a connection that nobody else uses. One that failed, or whose statement
//! was given up, is thrown away: nothing is ever sent after half an answer. A connection is told
//! to wait for the disk, and the server to end what we gave up.

mod hints;
mod options;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use self::hints::Hints;
use super::migrations::{Migrations, SchemaState};
use super::sql::{SqlDatabase, Statement};
use super::{EventLog as _, StorageError};
use crate::domain::event::Seq;
use crate::failpoint;
use crate::settings::Postgres as Settings;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// Longest wait between two looks at the table while hints arrive.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait between two looks at the table while no hints can arrive.
const BLIND_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A log in a Postgres database.
#[derive(Debug)]
pub struct PostgresLog {
    server: Server,
    /// How many connections may be in use; none is waited for longer than the settings say.
    free: Semaphore,
    /// Connections that nobody uses, with the time since when; the last one is taken first.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
    hints: OnceLock<Hints>,
}

/// What a guarded connection needs, as PEM.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// Whom a server's certificate may be from, if it is verified.
    pub roots: Vec<u8>,
    /// The certificate and the key to show to a server that asks.
    pub client: Option<(String, String)>,
}

/// Where the database is, and how its connections are set up.
#[derive(Clone)]
struct Server {
    options: PgConnectOptions,
    settings: Settings,
}

impl PostgresLog {
    /// Opens the log in a database whose tables are as this version needs them.
    pub async fn open(settings: &Settings, files: TlsFiles) -> Result<Self, StorageError> {
        let log = Self::unprepared(settings, files);
        log.state().await?.check()?;
        Ok(log)
    }

    /// Opens the database whatever tables it has.
    pub fn unprepared(settings: &Settings, files: TlsFiles) -> Self {
        let options = options::of(settings, files);
        Self {
            server: Server { options, settings: settings.clone() },
            free: Semaphore::new(settings.connections_max),
            idle: Mutex::default(),
            hints: OnceLock::new(),
        }
    }

    /// Lends a connection that nobody else uses.
    async fn lend(&self) -> Result<Lent<'_>, sqlx::Error> {
        let free = timeout(self.server.settings.semaphore_timeout, self.free.acquire()).await;
        let permit = match free {
            Ok(permit) => permit.map_err(|_| sqlx::Error::PoolClosed)?,
            Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.server.connect().await?,
        };
        Ok(Lent { log: self, _permit: permit, connection })
    }

    async fn ask(&self, statement: &Statement<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut lent = self.lend().await?;
        let rows = statement.query::<Postgres>().fetch_all(&mut lent.connection);
        let rows = self.server.in_time(rows).await;
        lent.settle(rows)
    }

    fn take_idle(&self) -> Option<PgConnection> {
        let mut idle = self.idle();
        if let Some(most) = self.server.settings.keepalive_timeout {
            idle.retain(|(_, since)| since.elapsed() < most);
        }
        idle.pop().map(|(connection, _)| connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Server {
    /// Leaves the options out: they hold the password and the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.settings.fmt(f)
    }
}

/// A connection that is in use.
struct Lent<'a> {
    log: &'a PostgresLog,
    _permit: SemaphorePermit<'a>,
    connection: PgConnection,
}

impl Lent<'_> {
    /// Gives the connection back after success, and throws it away after a failure.
    fn settle<T>(self, outcome: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        match &outcome {
            Ok(_) => self.log.idle().push((self.connection, Instant::now())),
            // What broke this one broke the others too.
            Err(error) if PostgresLog::is_lost(error) => self.log.idle().clear(),
            Err(_) => {}
        }
        outcome
    }
}

impl Server {
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.in_time(async {
            let mut connection = self.options.connect().await?;
            connection.execute(options::session(&self.settings).as_str()).await?;
            Ok(connection)
        })
        .await
    }

    /// Runs statements as one transaction and returns how many rows they wrote.
    async fn run_all(
        &self,
        connection: &mut PgConnection,
        statements: &[Statement<'_>],
    ) -> Result<u64, sqlx::Error> {
        // A statement alone is a transaction of its own.
        if let [statement] = statements {
            failpoint::hit("postgres.alone");
            return self.run(connection, statement).await;
        }
        let mut written = 0;
        let mut transaction = self.in_time(connection.begin()).await?;
        for statement in statements {
            failpoint::hit("postgres.within");
            written += self.run(&mut transaction, statement).await?;
        }
        failpoint::hit("postgres.commit");
        self.in_time(transaction.commit()).await?;
        Ok(written)
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        statement: &Statement<'_>,
    ) -> Result<u64, sqlx::Error> {
        let done = self.in_time(statement.query::<Postgres>().execute(connection)).await?;
        Ok(done.rows_affected())
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match timeout(self.settings.timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }
}

#[async_trait]
impl SqlDatabase for PostgresLog {
    type Row = PgRow;

    async fn fetch(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        match self.ask(&statement).await {
            // The connection may have been broken for long; asking twice does no harm.
            Err(error) if Self::is_lost(&error) => self.ask(&statement).await,
            answer => answer,
        }
    }

    async fn transact(&self, statements: Vec<Statement<'_>>) -> Result<u64, sqlx::Error> {
        let mut lent = self.lend().await?;
        let written = self.server.run_all(&mut lent.connection, &statements).await;
        failpoint::hit("postgres.committed");
        lent.settle(written)
    }

    fn is_lost(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::TimedOut,
            // The server goes away, or the connection did.
            sqlx::Error::Database(error) => {
                error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
            }
            _ => false,
        }
    }

    async fn shut(&self) {
        // The server notices.
        self.idle().clear();
    }

    async fn wait(&self, after: Seq) -> Result<(), StorageError> {
        let hints = self.hints.get_or_init(|| Hints::start(self.server.clone()));
        while !hints.next(after).await {
            if self.tip().await?.seq != after {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Migrations for PostgresLog {
    async fn state(&self) -> Result<SchemaState, StorageError> {
        let known = "SELECT 1 FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')";
        SchemaState::of(self, &MIGRATIONS, Statement::new(known)).await
    }

    async fn migrate(&self) -> Result<(), StorageError> {
        let mut connection = self.server.connect().await?;
        let session = options::migration_session(&self.server.settings);
        connection.execute(session.as_str()).await?;
        failpoint::hit("postgres.migrate");
        MIGRATIONS.run_direct(&mut connection).await.map_err(StorageError::Migrate)?;
        failpoint::hit("postgres.migrated");
        Ok(())
    }

    async fn reset(&self) -> Result<(), StorageError> {
        let functions = [
            "DROP FUNCTION IF EXISTS hybridctl_announce()",
            "DROP FUNCTION IF EXISTS hybridctl_channel()",
        ];
        super::migrations::drop_tables(self, &functions).await
    }

    fn name(&self) -> String {
        self.server.settings.database.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Database, Sources};

    #[test]
    fn what_is_shown_holds_no_password() {
        let env = [("KONG_DATABASE", "postgres"), ("KONG_PG_PASSWORD", "hunter2")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let loaded = crate::settings::Settings::load(&Sources { conf: None, env, prefix: None });
        let Database::Postgres(settings) = loaded.unwrap().database else { panic!("no server") };
        let log = PostgresLog::unprepared(&settings, TlsFiles::default());
        let shown = format!("{log:?}");
        assert!(shown.contains("127.0.0.1") && !shown.contains("hunter2"), "{shown}");
    }
}
