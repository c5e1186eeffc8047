//! A log whose database fails in each way that there is, before or after it has done what it was
//! asked for: what writers are told, and that nothing is lost or shows up later.

use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hybridctl::clock::Clock;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::decide::Fresh;
use hybridctl::domain::entity::Entity;
use hybridctl::domain::event::{Change, EventKind, Origin, Seq};
use hybridctl::domain::kinds::service;
use hybridctl::log::fault::Fault;
use hybridctl::log::sql::{SqlDatabase, Statement};
use hybridctl::log::sqlite::SqliteLog;
use hybridctl::log::{AppendError, StorageError};
use hybridctl::writer::{WriteError, Writer, audit};
use serde_json::json;
use sqlx::{ConnectOptions as _, Executor as _};
use uuid::Uuid;

use crate::harness::Directory;

/// How a database fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Sound,
    /// It does nothing.
    Refuses,
    /// It does what it is asked for once more and says that it failed; then it refuses.
    Loses,
    /// As before, and nothing can be read.
    LosesAndHides,
    Hides,
}

/// A database that fails as it is told to.
#[derive(Debug)]
struct Faulty {
    log: SqliteLog,
    mode: Mutex<Mode>,
    error: Make,
}

impl Faulty {
    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }
}

#[async_trait]
impl SqlDatabase for Faulty {
    type Row = <SqliteLog as SqlDatabase>::Row;

    async fn fetch(&self, statement: Statement<'_>) -> Result<Vec<Self::Row>, sqlx::Error> {
        match self.mode() {
            Mode::LosesAndHides | Mode::Hides => Err((self.error)()),
            _ => self.log.fetch(statement).await,
        }
    }

    async fn transact(&self, statements: Vec<Statement<'_>>) -> Result<u64, sqlx::Error> {
        let then = match self.mode() {
            Mode::Sound => return self.log.transact(statements).await,
            Mode::Loses => Mode::Refuses,
            Mode::LosesAndHides => Mode::Hides,
            Mode::Refuses | Mode::Hides => return Err((self.error)()),
        };
        self.set(then);
        self.log.transact(statements).await?;
        Err((self.error)())
    }

    fn is_lost(_: &sqlx::Error) -> bool {
        false
    }

    async fn shut(&self) {}

    async fn wait(&self, after: Seq) -> Result<(), StorageError> {
        self.log.wait(after).await
    }
}

/// A writer on a database that is sound yet, and holds one event.
async fn start(directory: &Directory, error: Make) -> (Arc<Faulty>, Writer) {
    let log = SqliteLog::open(&directory.path().join("log.db")).await.unwrap();
    let faulty = Arc::new(Faulty { log, mode: Mutex::new(Mode::Sound), error });
    let catalog = Arc::new(Catalog::new(Vec::new()));
    let (writer, task) = Writer::open(faulty.clone(), catalog, Clock::System).await.unwrap();
    tokio::spawn(task.run(std::future::pending()));
    assert_eq!(put(&writer, "first").await.unwrap(), Seq(1));
    (faulty, writer)
}

/// Gives the only service a host; returns the position that has it.
async fn put(writer: &Writer, host: &str) -> Result<Seq, WriteError> {
    let document = json!({"id": Uuid::from_u128(1), "host": host});
    let entity = Entity::new(service::KIND, document.as_object().unwrap()).unwrap();
    let origin = Origin {
        actor: "ann".into(),
        request_id: host.into(),
        source: "test".into(),
        kind: EventKind::Written,
        reason: None,
    };
    let decide = move |_: &_, _: &mut Fresh<'_>| Ok((vec![Change::Upserted(entity.clone())], ()));
    Ok(writer.write(origin, decide).await?.1.seq)
}

fn system(number: i32) -> sqlx::Error {
    sqlx::Error::Io(Error::from_raw_os_error(number))
}

type Make = fn() -> sqlx::Error;

/// Each error, what it is called, and whether a write that failed by it may be there.
const CASES: &[(Make, Fault, bool)] = &[
    (|| sqlx::Error::Io(ErrorKind::StorageFull.into()), Fault::Full, false),
    (|| sqlx::Error::Io(ErrorKind::ReadOnlyFilesystem.into()), Fault::ReadOnly, false),
    (|| sqlx::Error::PoolTimedOut, Fault::Busy, false),
    (|| system(24), Fault::Exhausted, false),
    (|| system(5), Fault::Disk, true),
    (|| sqlx::Error::Io(ErrorKind::TimedOut.into()), Fault::Slow, true),
    (|| sqlx::Error::Io(ErrorKind::ConnectionReset.into()), Fault::Unreachable, true),
    (|| sqlx::Error::RowNotFound, Fault::Failed, true),
];

#[tokio::test]
async fn a_write_that_the_database_refuses_is_not_there_and_never_will_be() {
    for (error, fault, in_doubt) in CASES {
        let directory = Directory::new();
        let (faulty, writer) = start(&directory, *error).await;
        faulty.set(Mode::Refuses);
        match put(&writer, "refused").await {
            Err(WriteError::InDoubt(error)) if *in_doubt => assert_eq!(error.fault(), *fault),
            Err(WriteError::Unavailable(error)) if !in_doubt => assert_eq!(error.fault(), *fault),
            other => panic!("{fault:?}: {other:?}"),
        }
        // From here on nothing is tried before the log is known, so there is no doubt; that
        // includes a write which would change nothing.
        for host in ["refused again", "first"] {
            let refused = put(&writer, host).await;
            assert!(matches!(refused, Err(WriteError::Unavailable(_))), "{fault:?}: {refused:?}");
        }
        assert_eq!(writer.head().seq, Seq(1));
        faulty.set(Mode::Sound);
        assert_eq!(put(&writer, "second").await.unwrap(), Seq(2), "{fault:?}");
        assert_eq!(audit::verify(writer.history()).await.unwrap().seq, Seq(2));
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_before_anything_else_is_answered() {
    for (error, fault, _) in CASES.iter().filter(|(_, _, in_doubt)| *in_doubt) {
        let directory = Directory::new();
        let (faulty, writer) = start(&directory, *error).await;
        faulty.set(Mode::Loses);
        assert_eq!(put(&writer, "second").await.unwrap(), Seq(2), "{fault:?}: it can be read");

        faulty.set(Mode::Sound);
        assert_eq!(put(&writer, "third").await.unwrap(), Seq(3));
        faulty.set(Mode::LosesAndHides);
        let lost = put(&writer, "fourth").await;
        assert!(matches!(lost, Err(WriteError::InDoubt(_))), "{fault:?}: {lost:?}");
        assert_eq!(writer.head().seq, Seq(3), "nobody knows yet");
        faulty.set(Mode::Sound);
        // Decided on the third it would be an event of its own.
        assert_eq!(put(&writer, "fourth").await.unwrap(), Seq(4), "{fault:?}");
        assert_eq!(audit::verify(writer.history()).await.unwrap().seq, Seq(4));
    }
}

#[tokio::test]
async fn a_log_that_recovers_is_found_without_a_write() {
    let directory = Directory::new();
    let (faulty, writer) = start(&directory, || system(5)).await;
    faulty.set(Mode::LosesAndHides);
    assert!(put(&writer, "second").await.is_err());
    let mut heads = writer.subscribe();
    faulty.set(Mode::Sound);
    let found = heads.wait_for(|head| head.seq == Seq(2));
    tokio::time::timeout(crate::harness::PATIENCE, found).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_log_that_has_lost_what_was_acknowledged_takes_no_writes() {
    let directory = Directory::new();
    let (_, writer) = start(&directory, || sqlx::Error::RowNotFound).await;
    put(&writer, "second").await.unwrap();
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.path().join("log.db"));
    let mut other = file.connect().await.unwrap();
    other.execute("DELETE FROM events WHERE seq = 2").await.unwrap();
    for host in ["third", "second"] {
        let refused = put(&writer, host).await;
        let Err(WriteError::Unavailable(error)) = refused else { panic!("{refused:?}") };
        assert!(matches!(*error, AppendError::Lost { .. }), "{error:?}");
    }
    assert_eq!(writer.head().seq, Seq(2), "what is served stays");
    assert_eq!(writer.history().log().tip().await.unwrap().seq, Seq(1), "nothing was appended");
}
