//! The log, its stored snapshots and what lies beside them, after a crash at each step of writing
//! them, on each database.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hybridctl::clock::Clock;
use hybridctl::domain::event::Seq;
use hybridctl::log::LogDatabase;
use hybridctl::log::row::Row;
use hybridctl::planes::control::Control;
use hybridctl::planes::{self, database, identity};
use hybridctl::settings::{Settings, Sources};
use hybridctl::writer::audit;
use hybridctl::writer::gc;
use hybridctl::writer::history::History;
use serde_json::json;

use super::workload::{self, Part, Told};
use super::{Point, Record, at_each, failpoints, was_killed, within};
use crate::harness::Directory;
use crate::http;
use crate::postgres::Schema;

/// How long a control plane may take to start after a crash.
const RESTART_WITHIN: Duration = Duration::from_secs(3);

/// More than any run appends.
const ROWS_MAX: u32 = 10_000;

/// Which database is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// Where its failpoints are.
    fn folder(self) -> &'static str {
        match self {
            Self::Sqlite => "src/log/sqlite.rs",
            Self::Postgres => "src/log/postgres/",
        }
    }
}

/// What failpoints between the statements of a transaction are called: there every hit counts.
const WITHIN: &str = ".within";

/// How many hits of the other failpoints are tried.
const HITS: usize = 7;

/// How many hits of a database's failpoints are tried while many nodes are stored, which takes long.
const MANY_NODES_HITS: usize = 4;

/// One run: a log of its own, worked on by a process.
struct Run {
    directory: Directory,
    kind: Kind,
    part: Part,
    env: Vec<(String, String)>,
}

/// What a run leaves that nobody interrupts.
struct Whole {
    rows: Vec<Row>,
    told: Told,
    record: Record,
    run: Run,
}

impl Run {
    fn new(kind: Kind, part: Part, pair: &(String, String)) -> Self {
        let directory = Directory::new();
        let mut env: Vec<_> = [
            ("KONG_ROLE", "control_plane"),
            ("KONG_PREFIX", &directory.path().display().to_string()),
            ("KONG_CLUSTER_CERT", &pair.0),
            ("KONG_CLUSTER_CERT_KEY", &pair.1),
            ("KONG_ADMIN_LISTEN", "127.0.0.1:0"),
            ("KONG_CLUSTER_LISTEN", "127.0.0.1:0"),
            ("KONG_STATUS_LISTEN", "off"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if kind == Kind::Postgres {
            env.extend(Schema::new().env());
        }
        Self { directory, kind, part, env }
    }

    fn settings(&self) -> Settings {
        let env = self.env.iter().cloned().collect();
        Settings::load(&Sources { conf: None, env, prefix: None }).unwrap()
    }

    /// Runs the process; it dies at a point, if there is one. Returns whether it did.
    async fn work(&self, record: Option<&Record>, point: Option<&Point>) -> bool {
        let mut command =
            workload::command(&self.env, self.part, &self.directory.path().join("told"));
        command.stdout(Stdio::null());
        if let Some(record) = record {
            record.attach(&mut command);
        }
        if let Some(point) = point {
            point.arm(&mut command);
        }
        let status = tokio::task::spawn_blocking(move || command.status().unwrap()).await.unwrap();
        match point {
            Some(point) => was_killed(status, point),
            None => {
                assert!(status.success(), "the process ended with {status}");
                false
            }
        }
    }

    fn told(&self) -> Told {
        Told::read(&self.directory.path().join("told"))
    }

    /// Opens the log as a start after a crash does.
    async fn open(&self) -> Arc<dyn LogDatabase> {
        let settings = self.settings();
        if self.kind == Kind::Postgres {
            // As `migrations up` does; a crash may have left no tables.
            database::migrations(&settings).unwrap().unwrap().migrate().await.unwrap();
        }
        database::open_stored(&settings).await.unwrap()
    }

    async fn whole(kind: Kind, part: Part, pair: &(String, String)) -> Whole {
        let run = Self::new(kind, part, pair);
        let record = Record::new(run.directory.path());
        run.work(Some(&record), None).await;
        let rows = run.open().await.read(Seq(0), ROWS_MAX).await.unwrap();
        let told = run.told();
        assert!(told.has("end"));
        Whole { rows, told, record, run }
    }

    /// Kills the process at a point and looks at what it leaves; returns whether it got there.
    async fn crash(pair: &(String, String), point: Point, whole: &Whole) -> bool {
        let run = Self::new(whole.run.kind, whole.run.part, pair);
        let killed = run.work(None, Some(&point)).await;
        let told = run.told();
        let log = run.open().await;
        check_events(&point, &*log, &told, whole).await;
        check_beside(&point, &*log, &told).await;
        run.go_on(&point, log).await;
        killed
    }

    /// Starts a control plane and goes on: the log verifies, the next write works, and what the
    /// crash left lying about is cleared away.
    async fn go_on(&self, point: &Point, log: Arc<dyn LogDatabase>) {
        let settings = self.settings();
        let catalog = Arc::new(planes::catalog(&settings).unwrap());
        let history = History::new(log.clone(), catalog);
        for stored in log.stored_snapshots().await.unwrap() {
            let loaded = history.load(stored).await;
            loaded.unwrap_or_else(|why| panic!("{point}: the snapshot at {}: {why:?}", stored.seq));
        }
        let started = within(RESTART_WITHIN, Control::start(&settings, Clock::System)).await;
        let control = started.unwrap_or_else(|| panic!("{point}: no restart in time")).unwrap();
        let before = control.writer.head();
        let audited = audit::verify(&history).await;
        let audited = audited.unwrap_or_else(|why| panic!("{point}: {why:?}"));
        assert_eq!((audited.tip(), audited.config_hash), (before.tip(), before.config_hash));

        let header = [("Content-Type", "application/json")];
        let body = json!({"host": "after"}).to_string();
        let put = http::send(control.admin[0], "PUT", "/services/after", &header, &body).await;
        assert_eq!(put.unwrap().status, 200, "{point}: the next write");
        let head = control.writer.head();
        assert_eq!(head.seq, before.seq.next(), "{point}");
        control.stop().await;

        let newest = log.newest_snapshot(head.seq).await.unwrap().unwrap();
        assert_eq!((newest.seq, newest.config_hash), (head.seq, head.config_hash), "{point}");
        let now = Clock::System.now();
        gc::clear(&*log, workload::POLICY, &[], now, false).await.unwrap();
        let loaded = history.load(newest).await.unwrap();
        let nodes = log.stored_nodes(None, ROWS_MAX).await.unwrap();
        assert_eq!(nodes.len(), loaded.snapshot.tree().nodes().count(), "{point}: nodes are left");
    }
}

/// The events are the beginning of those of a whole run: all that were acknowledged, and of each
/// step all or none.
async fn check_events(point: &Point, log: &dyn LogDatabase, told: &Told, whole: &Whole) {
    let rows = log.read(Seq(0), ROWS_MAX).await.unwrap();
    let expected = &whole.rows[..rows.len().min(whole.rows.len())];
    assert_eq!(rows, expected, "{point}");
    let end = rows.len() as u64;
    assert!(end >= told.seq, "{point}: {} was acknowledged, the log ends at {end}", told.seq);
    let all = whole.rows.len() as u64;
    assert!(end == all || whole.told.steps.contains(&end), "{point}: a torn step ends at {end}");
}

/// What lies beside the events is what was acknowledged, or one more.
async fn check_beside(point: &Point, log: &dyn LogDatabase, told: &Told) {
    let promotions = log.promotions(0).await.unwrap();
    let expected: Vec<_> = (1..3).map(workload::promotion).collect();
    assert_eq!(promotions, expected[..promotions.len()], "{point}");
    let acknowledged = (1..3).filter(|id| told.has(&format!("promotion {id}"))).count();
    assert!(promotions.len() >= acknowledged, "{point}: decision {acknowledged} is lost");

    let tokens = log.tokens().await.unwrap();
    assert!(!tokens.is_empty() || !told.has("token"), "{point}: the token is lost");
    for token in &tokens {
        let created = hybridctl::log::tokens::Token { revoked: None, ..token.clone() };
        assert_eq!(created, workload::token(), "{point}");
        assert!(token.revoked.is_some() || !told.has("revoked"), "{point}: a token came back");
    }

    let meta = identity::meta(log, &Clock::System).await.unwrap();
    let lost = meta.epoch != workload::EPOCH && (meta.epoch != 0 || told.has("epoch"));
    assert!(!lost, "{point}: the epoch is {}", meta.epoch);
    let cluster = told.done.iter().find_map(|done| done.strip_prefix("cluster "));
    let same = cluster.is_none_or(|cluster| cluster == meta.cluster_id.to_string());
    assert!(same, "{point}: the cluster is another one");
}

async fn crash_everywhere(kind: Kind, other: Kind, except: &[&str]) {
    let directory = Directory::new();
    let pair = directory.pair("cluster");
    let whole = Run::whole(kind, Part::Everything, &pair).await;
    let many_nodes = Run::whole(kind, Part::ManyNodes, &pair).await;
    // Commands are killed elsewhere.
    let others = failpoints(&[other.folder(), "src/log/archive.rs", "src/writer/compaction/"]);
    let except =
        others.iter().map(String::as_str).chain(except.iter().copied()).collect::<Vec<_>>();
    whole.record.expect_all_of(&["src/log/", "src/writer/"], &except);

    let own = failpoints(&[kind.folder()]);
    let slow = many_nodes.record.points_of(|name| own.contains(name), MANY_NODES_HITS);
    let is_within = |name: &str| name.ends_with(WITHIN);
    let mut points = whole.record.points_of(is_within, usize::MAX);
    points.extend(whole.record.points_of(|name| !is_within(name), HITS));
    let points = points.into_iter().map(|point| (point, &whole));
    let points: Vec<_> = points.chain(slow.into_iter().map(|point| (point, &many_nodes))).collect();
    let count = points.len();
    let reached = at_each(points, |(point, whole)| Run::crash(&pair, point, whole)).await;
    eprintln!("{kind:?}: {reached} of {count} points reached");
    assert!(reached * 10 >= count * 9, "{kind:?}: only {reached} of {count} points were reached");
    assert!(reached >= 100, "{kind:?}: {reached} points are too few");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_loses_and_tears_nothing_in_sqlite() {
    crash_everywhere(Kind::Sqlite, Kind::Postgres, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_loses_and_tears_nothing_in_postgres() {
    // The server tells the one process what the other appended, sometimes before it tries.
    crash_everywhere(Kind::Postgres, Kind::Sqlite, &["writer.conflict"]).await;
}
