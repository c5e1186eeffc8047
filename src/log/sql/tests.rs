//! Appends whose connection breaks before or after the database has carried them out.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Mutex;

use chrono::DateTime;

use super::*;
use crate::clock::Clock;
use crate::domain::event::{EventKind, Origin};
use crate::domain::hash::ConfigHash;
use crate::log::row::Row;
use crate::log::sqlite::SqliteLog;
use crate::log::{AppendError, EventLog as _, Tip};

/// Where a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    Before,
    After,
}

/// A database whose connections break as they are told to.
#[derive(Debug)]
struct Breaking {
    file: PathBuf,
    log: SqliteLog,
    breaks: Mutex<VecDeque<Break>>,
}

impl Breaking {
    async fn new(breaks: &[Break]) -> Self {
        let file = std::env::temp_dir().join(format!("hybridctl-{}.db", Clock::System.id()));
        let log = SqliteLog::open(&file).await.unwrap();
        Self { file, log, breaks: Mutex::new(breaks.iter().copied().collect()) }
    }
}

impl Drop for Breaking {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[async_trait]
impl SqlDatabase for Breaking {
    type Row = <SqliteLog as SqlDatabase>::Row;

    async fn fetch(&self, statement: Statement<'_>) -> Result<Vec<Self::Row>, sqlx::Error> {
        self.log.fetch(statement).await
    }

    async fn transact(&self, statements: Vec<Statement<'_>>) -> Result<u64, sqlx::Error> {
        let next = self.breaks.lock().unwrap().pop_front();
        if next != Some(Break::Before) {
            let written = self.log.transact(statements).await?;
            if next.is_none() {
                return Ok(written);
            }
        }
        Err(sqlx::Error::Io(ErrorKind::ConnectionReset.into()))
    }

    fn is_lost(error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::Io(_))
    }

    async fn shut(&self) {}

    async fn wait(&self, after: Seq) -> Result<(), StorageError> {
        self.log.wait(after).await
    }
}

fn row(prev: Tip, actor: &str) -> Row {
    let origin = Origin {
        actor: actor.into(),
        request_id: "r1".into(),
        source: "test".into(),
        kind: EventKind::Written,
        reason: None,
    };
    Row::seal(prev, DateTime::UNIX_EPOCH, &origin, &[], ConfigHash([1; 32]))
}

#[tokio::test]
async fn an_append_that_broke_is_there_once_whenever_it_broke() {
    for at in [Break::Before, Break::After] {
        let database = Breaking::new(&[at]).await;
        let rows = [row(Tip::START, "ann")];
        database.append(Tip::START, &rows).await.unwrap();
        assert_eq!(database.read(Seq(0), 10).await.unwrap(), rows, "{at:?}");
    }
}

#[tokio::test]
async fn an_append_that_broke_is_not_taken_for_what_another_appended() {
    let database = Breaking::new(&[Break::Before]).await;
    let theirs = [row(Tip::START, "bob")];
    database.log.append(Tip::START, &theirs).await.unwrap();
    let refused = database.append(Tip::START, &[row(Tip::START, "ann")]).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    assert_eq!(database.read(Seq(0), 10).await.unwrap(), theirs);
}

#[tokio::test]
async fn an_append_that_breaks_again_is_reported() {
    let database = Breaking::new(&[Break::Before, Break::After]).await;
    let rows = [row(Tip::START, "ann")];
    let failed = database.append(Tip::START, &rows).await;
    assert!(matches!(failed, Err(AppendError::Storage(_))), "{failed:?}");
    // The writer reads the tail after that, and finds what nobody could tell.
    assert_eq!(database.tip().await.unwrap(), rows[0].tip());
}
