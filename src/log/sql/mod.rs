//! The log in a database that speaks SQL: what every one of them has in common.
//!
//! A database is a way to run statements ([`SqlDatabase`]); the tables and the texts are the same
//! everywhere, so [`EventLog`](super::EventLog) and [`TokenStore`](super::tokens::TokenStore) are
//! written once, here.

mod cells;
mod compaction;
mod event_log;
mod fleet;
mod promotions;
mod settle;
mod statement;
mod sweep;
#[cfg(test)]
mod tests;
mod tokens;

use async_trait::async_trait;

use crate::domain::event::Seq;

pub use self::cells::{Cells, Columns};
pub use self::statement::Statement;
use super::{LogDatabase, StorageError};

/// A database that runs statements.
#[async_trait]
pub trait SqlDatabase: Send + Sync + std::fmt::Debug {
    /// A row of an answer.
    type Row: Columns;

    /// Asks, outside of any transaction.
    async fn fetch(&self, statement: Statement<'_>) -> Result<Vec<Self::Row>, sqlx::Error>;

    /// Runs statements as one transaction, durable when it answers `Ok`. Returns how many rows they
    /// wrote. One statement alone costs one way to the database and back.
    async fn transact(&self, statements: Vec<Statement<'_>>) -> Result<u64, sqlx::Error>;

    /// Returns whether a transaction failed because the way to the database broke, so that nobody
    /// knows what became of it, and there may be a new way at once.
    fn is_lost(error: &sqlx::Error) -> bool;

    /// Returns the statement that gives free space back to the file system, where the database does
    /// not do so by itself.
    fn vacuum_statement() -> Option<&'static str> {
        None
    }

    /// Closes what is open, as far as that does something for who comes next.
    async fn shut(&self);

    /// Does as [`EventLog::changed`](super::EventLog::changed) says.
    async fn wait(&self, after: Seq) -> Result<(), StorageError>;
}

#[async_trait]
impl<D: SqlDatabase> LogDatabase for D {
    async fn vacuum(&self) -> Result<bool, StorageError> {
        let Some(text) = Self::vacuum_statement() else { return Ok(false) };
        // A statement alone is in no transaction, which it must not be.
        self.transact(vec![Statement::new(text)]).await?;
        Ok(true)
    }

    async fn close(&self) {
        self.shut().await;
    }
}
