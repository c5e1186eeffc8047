//! `log compact`, killed at every step: each event is in the log or in the archive, and the next
//! compaction finishes what this one began.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hybridctl::clock::Clock;
use hybridctl::domain::event::Seq;
use hybridctl::log::LogDatabase;
use hybridctl::planes::{self, database};
use hybridctl::settings::{Settings, Sources};
use hybridctl::writer::Writer;

use super::{Point, Record, at_each, was_killed, within, workload};
use crate::harness::Directory;
use crate::postgres::Schema;

/// Events of the log, and how many of them stay.
const EVENTS: u64 = 12;
const KEPT: u64 = 3;

/// How many hits of each failpoint are tried.
const HITS: usize = 5;

/// How long a log may take to open after a crash.
const OPEN_WITHIN: Duration = Duration::from_secs(3);

/// A log of its own, with its events.
struct Place {
    directory: Directory,
    env: Vec<(String, String)>,
}

impl Place {
    async fn new(on_postgres: bool) -> Self {
        let directory = Directory::new();
        let pair = directory.pair("cluster");
        let mut env: Vec<_> = [
            ("KONG_ROLE", "control_plane"),
            ("KONG_PREFIX", &*directory.path().display().to_string()),
            ("KONG_CLUSTER_CERT", &pair.0),
            ("KONG_CLUSTER_CERT_KEY", &pair.1),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if on_postgres {
            env.extend(Schema::new().env());
        }
        let place = Self { directory, env };
        if on_postgres {
            database::migrations(&place.settings()).unwrap().unwrap().migrate().await.unwrap();
        }
        let (log, writer) = place.open().await;
        for event in 0..EVENTS {
            place.put(&writer, event).await;
        }
        drop(writer);
        log.close().await;
        place
    }

    fn settings(&self) -> Settings {
        let env = self.env.iter().cloned().collect();
        Settings::load(&Sources { conf: None, env, prefix: None }).unwrap()
    }

    async fn open(&self) -> (Arc<dyn LogDatabase>, Writer) {
        let settings = self.settings();
        let log = database::open_stored(&settings).await.unwrap();
        let catalog = Arc::new(planes::catalog(&settings).unwrap());
        let (writer, task) = Writer::open(log.clone(), catalog, Clock::System).await.unwrap();
        tokio::spawn(task.run(std::future::pending()));
        (log, writer)
    }

    async fn put(&self, writer: &Writer, event: u64) {
        let catalog = planes::catalog(&self.settings()).unwrap();
        let service = workload::service(&catalog, 1 + u128::from(event), "host");
        workload::put(writer.clone(), service).await;
    }

    fn archive(&self) -> PathBuf {
        self.directory.path().join("archive.jsonl.gz")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.arg("log").args(words).envs(self.env.iter().cloned());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn compact(&self) -> Command {
        let archive = self.archive().display().to_string();
        self.command(&["compact", "--keep-events", &KEPT.to_string(), "--archive", &archive])
    }

    /// Kills a compaction and looks at what it leaves; returns whether it got there.
    async fn crash(point: Point, on_postgres: bool) -> bool {
        let place = Self::new(on_postgres).await;
        let mut armed = place.compact();
        point.arm(&mut armed);
        let killed = was_killed(armed.status().unwrap(), &point);
        let verified = |words: &[&str]| place.command(words).status().unwrap().success();
        assert!(verified(&["verify"]), "{point}: the log does not verify");

        let (log, _) = within(OPEN_WITHIN, place.open()).await.expect("the log opens in time");
        let rows = log.read(Seq(0), 100).await.unwrap();
        let recorded = log.checkpoints().await.unwrap();
        let first = rows.first().map(|row| row.seq.0);
        assert_eq!(rows.last().map(|row| row.seq.0), Some(EVENTS), "{point}");
        assert!(
            first == Some(1) || !recorded.is_empty() && place.archive().exists(),
            "{point}: the log begins at {first:?}, and nobody knows where the rest is"
        );
        log.close().await;

        assert!(place.compact().status().unwrap().success(), "{point}: the next compaction fails");
        let (log, writer) = place.open().await;
        let rows = log.read(Seq(0), 100).await.unwrap();
        let kept: Vec<u64> = rows.iter().map(|row| row.seq.0).collect();
        assert_eq!(kept, (EVENTS - KEPT + 1..=EVENTS).collect::<Vec<_>>(), "{point}");
        place.put(&writer, EVENTS).await;
        log.close().await;
        let archive = place.archive().display().to_string();
        assert!(verified(&["verify", "--archive", &archive]), "{point}: the whole history fails");
        killed
    }
}

async fn crash_everywhere(on_postgres: bool) {
    let whole = Place::new(on_postgres).await;
    let record = Record::new(whole.directory.path());
    let mut command = whole.compact();
    record.attach(&mut command);
    assert!(command.status().unwrap().success());
    record.expect_all_of(&["src/writer/compaction/", "src/log/archive.rs"], &[]);
    let points = record.points_of(|_| true, HITS);
    let count = points.len();
    let reached = at_each(points, |point| Place::crash(point, on_postgres)).await;
    eprintln!("{reached} of {count} points reached");
    assert!(reached * 10 >= count * 9, "only {reached} of {count} points were reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_compaction_loses_nothing_in_sqlite() {
    crash_everywhere(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_compaction_loses_nothing_in_postgres() {
    crash_everywhere(true).await;
}
