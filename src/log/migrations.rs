//! The tables of a database: which version they are, how they are made, brought up and dropped.

use async_trait::async_trait;
use sqlx::migrate::Migrator;

use super::StorageError;
use super::sql::{Cells, SqlDatabase, Statement};

/// Which migrations a database has had, by name, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaState {
    /// Those that were carried out.
    pub executed: Vec<String>,
    /// Those of this version that were not.
    pub new: Vec<String>,
}

/// Why tables cannot be used as they are; in Kong's words, which scripts wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// There are none.
    #[error(
        "Database needs bootstrapping or is older than Kong 1.0.\n\n\
         To start a new installation from scratch, run 'kong migrations bootstrap'."
    )]
    NeedsBootstrap,
    /// They are of an earlier version.
    #[error("New migrations available; run 'kong migrations up' to proceed")]
    New,
}

/// What can be done with the tables of a database.
#[async_trait]
pub trait Migrations: Send + Sync {
    /// Returns what was carried out and what was not.
    async fn state(&self) -> Result<SchemaState, StorageError>;

    /// Carries out what was not. Of several processes at once one does, and the others wait.
    async fn migrate(&self) -> Result<(), StorageError>;

    /// Drops all of it, with all that is stored.
    async fn reset(&self) -> Result<(), StorageError>;

    /// Returns what people call the database.
    fn name(&self) -> String;
}

impl SchemaState {
    /// Returns whether the database has never been ours.
    pub fn needs_bootstrap(&self) -> bool {
        self.executed.is_empty()
    }

    /// Checks that this version can work with the tables.
    ///
    /// # Errors
    /// What is to be done first.
    pub fn check(&self) -> Result<(), SchemaError> {
        match self.needs_bootstrap() {
            true => Err(SchemaError::NeedsBootstrap),
            false if !self.new.is_empty() => Err(SchemaError::New),
            false => Ok(()),
        }
    }

    /// Asks a database; `known` is what answers with a row if it has ever been ours.
    pub(super) async fn of<D: SqlDatabase>(
        database: &D,
        migrator: &Migrator,
        known: Statement<'_>,
    ) -> Result<Self, StorageError> {
        let mut executed = Vec::new();
        if !database.fetch(known).await?.is_empty() {
            let query = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
            for row in database.fetch(Statement::new(query)).await? {
                executed.push(Cells::new("_sqlx_migrations", &row).integer("version")?);
            }
        }
        Ok(Self::with(migrator, &executed))
    }

    /// Returns the state of a database that is not there.
    pub(super) fn untouched(migrator: &Migrator) -> Self {
        Self::with(migrator, &[])
    }

    fn with(migrator: &Migrator, executed: &[i64]) -> Self {
        let mut state = Self::default();
        for migration in migrator.iter() {
            let name = format!("{:03} {}", migration.version, migration.description);
            let name = name.replace(' ', "_");
            match executed.contains(&migration.version) {
                true => state.executed.push(name),
                false => state.new.push(name),
            }
        }
        state
    }
}

/// Drops the tables, and what else a database has of ours, as one transaction.
pub(super) async fn drop_tables<D: SqlDatabase>(
    database: &D,
    more: &[&'static str],
) -> Result<(), StorageError> {
    let tables = [
        "DROP TABLE IF EXISTS events",
        "DROP TABLE IF EXISTS checkpoints",
        "DROP TABLE IF EXISTS meta",
        "DROP TABLE IF EXISTS nodes",
        "DROP TABLE IF EXISTS snapshots",
        "DROP TABLE IF EXISTS data_planes",
        "DROP TABLE IF EXISTS control_planes",
        "DROP TABLE IF EXISTS fleet_revision",
        "DROP TABLE IF EXISTS promotions",
        "DROP TABLE IF EXISTS admin_tokens",
        "DROP TABLE IF EXISTS _sqlx_migrations",
    ];
    let statements = tables.iter().chain(more).map(|text| Statement::new(text)).collect();
    database.transact(statements).await?;
    Ok(())
}
