//! What a process does to a log until it is killed: every kind of write, stored snapshots, and
//! clearing them away.
//!
//! It does the same each time, by a clock of its own, so that what an interrupted run leaves is the
//! beginning of what a whole one leaves.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use hybridctl::clock::Clock;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::config::Config;
use hybridctl::domain::decide::Fresh;
use hybridctl::domain::entity::Entity;
use hybridctl::domain::event::{Change, EventKind, Origin, Seq};
use hybridctl::domain::kinds::service;
use hybridctl::domain::role::AdminRole;
use hybridctl::log::LogDatabase;
use hybridctl::log::moment::Moment;
use hybridctl::log::promotions::PromotionRow;
use hybridctl::log::tokens::{Token, TokenHash};
use hybridctl::planes::{self, database, identity};
use hybridctl::settings::{Database, Settings, Sources};
use hybridctl::writer::gc::{self, Policy};
use hybridctl::writer::projector::Projector;
use hybridctl::writer::{Head, Writer};
use serde_json::json;
use uuid::Uuid;

/// Where the process is to tell what was acknowledged; without it there is nothing to do.
const TOLD: &str = "HYBRIDCTL_CRASH_WORKLOAD";

/// Which of the two parts it is to do.
const PART: &str = "HYBRIDCTL_CRASH_PART";

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A little of everything.
    Everything,
    /// So many nodes that storing and removing them takes several statements.
    ManyNodes,
}

/// The epoch that is begun.
pub(super) const EPOCH: u64 = 7;

/// Which snapshots stay: the newest.
pub(super) const POLICY: Policy = Policy { keep: 1, age: TimeDelta::zero() };

/// Returns a command that works on the log of `env` and tells in a file what was acknowledged.
pub(super) fn command(env: &[(String, String)], part: Part, told: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::workload::work", "--test-threads=1", "--nocapture"]);
    command.envs(env.iter().cloned()).env(TOLD, told);
    command.env(PART, format!("{part:?}"));
    command
}

/// What an interrupted run told.
#[derive(Default)]
pub(super) struct Told {
    /// Positions at which each step began: what is in between happens as a whole.
    pub(super) steps: Vec<u64>,
    /// The newest event that was acknowledged.
    pub(super) seq: u64,
    /// The other things that were.
    pub(super) done: Vec<String>,
}

impl Told {
    pub(super) fn read(path: &Path) -> Self {
        let mut told = Self::default();
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            match line.split_once(' ') {
                Some(("step", seq)) => told.steps.push(seq.parse().unwrap()),
                Some(("seq", seq)) => told.seq = told.seq.max(seq.parse().unwrap()),
                _ => told.done.push(line.to_owned()),
            }
        }
        told
    }

    pub(super) fn has(&self, what: &str) -> bool {
        self.done.iter().any(|done| done == what)
    }
}

/// The process that is killed. It is a test only to be found in this binary.
#[tokio::test]
async fn work() {
    let Some(told) = std::env::var_os(TOLD) else { return };
    let told = OpenOptions::new().append(true).create(true).open(told).unwrap();
    let many_nodes = std::env::var(PART).is_ok_and(|part| part == format!("{:?}", Part::ManyNodes));
    let worker = Worker::start(told).await;
    match many_nodes {
        true => worker.store_many_nodes().await,
        false => worker.do_everything().await,
    }
}

struct Worker {
    told: File,
    log: Arc<dyn LogDatabase>,
    catalog: Arc<Catalog>,
    clock: Clock,
    writer: Writer,
    /// Another process, as it were.
    other: Writer,
}

pub(super) fn origin() -> Origin {
    Origin {
        actor: "ann".into(),
        request_id: "r1".into(),
        source: "test".into(),
        kind: EventKind::Written,
        reason: None,
    }
}

pub(super) fn service(catalog: &Catalog, id: u128, host: &str) -> Entity {
    let document = json!({
        "id": Uuid::from_u128(id), "name": format!("s{id}"), "host": host,
        "created_at": 1, "updated_at": 1,
    });
    let mut document = document.as_object().unwrap().clone();
    catalog.complete(service::KIND, &mut document).unwrap();
    Entity::new(service::KIND, &document).unwrap()
}

impl Worker {
    async fn start(mut told: File) -> Self {
        let settings = Settings::load(&Sources::of_process(None, None)).unwrap();
        if matches!(settings.database, Database::Postgres(_)) {
            database::migrations(&settings).unwrap().unwrap().migrate().await.unwrap();
        }
        let clock = Clock::seeded(DateTime::from_timestamp(1_700_000_000, 0).unwrap(), 1);
        let log = database::open_stored(&settings).await.unwrap();
        let signer = identity::signer(&*log, &clock).await.unwrap();
        writeln!(told, "cluster {}", signer.cluster_id).unwrap();
        let catalog = Arc::new(planes::catalog(&settings).unwrap());
        let second = database::open_stored(&settings).await.unwrap();
        let open = async |log: Arc<dyn LogDatabase>| {
            let opened = Writer::open(log, catalog.clone(), clock.clone()).await;
            let (writer, task) = opened.unwrap();
            tokio::spawn(task.run(std::future::pending()));
            writer
        };
        let (writer, other) = (open(log.clone()).await, open(second).await);
        Self { told, log, catalog, clock, writer, other }
    }

    fn tell(&mut self, line: &str) {
        // In one call: half a line would be read as another number.
        self.told.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn acknowledge(&mut self, head: &Head) {
        self.tell(&format!("seq {}", head.seq.0));
    }

    fn step(&mut self) {
        let seq = self.writer.head().seq.0;
        self.tell(&format!("step {seq}"));
    }

    async fn put(&mut self, id: u128, host: &str) {
        self.step();
        let head = put(self.writer.clone(), service(&self.catalog, id, host)).await;
        self.acknowledge(&head);
    }

    async fn do_everything(mut self) {
        let mut early = Projector::new(self.log.clone(), self.writer.subscribe());
        let mut late = Projector::new(self.log.clone(), self.writer.subscribe());
        self.writes().await;
        self.step();
        early.store().await.unwrap();
        self.race().await;
        self.beside().await;
        late.store().await.unwrap();
        self.put(4, "later").await;
        late.store().await.unwrap();
        self.clear().await;
        // What this one would build upon is gone.
        self.put(5, "later").await;
        early.store().await.unwrap();
        self.roll_back(3).await;
        self.end().await;
    }

    async fn store_many_nodes(mut self) {
        let mut projector = Projector::new(self.log.clone(), self.writer.subscribe());
        self.put(1, "first").await;
        self.step();
        let many = (1000..3200).map(|id| service(&self.catalog, id, "large"));
        let config = Config::of(&self.catalog, many);
        let head = self.writer.force(true).import(origin(), config).await.unwrap();
        self.acknowledge(&head);
        projector.store().await.unwrap();
        self.roll_back(1).await;
        projector.store().await.unwrap();
        self.clear().await;
        self.end().await;
    }

    async fn end(mut self) {
        self.tell("end");
        self.log.close().await;
    }

    /// Writes alone, then many that come at once and are appended as one transaction.
    async fn writes(&mut self) {
        for id in 0..4 {
            self.put(id, "first").await;
        }
        self.step();
        let (catalog, writer) = (self.catalog.clone(), self.writer.clone());
        let many = (100..170).map(|id| put(writer.clone(), service(&catalog, id, "many")));
        for head in futures_util::future::join_all(many).await {
            self.acknowledge(&head);
        }
    }

    /// Writes after somebody else has: the first attempt is in vain.
    async fn race(&mut self) {
        for id in 1..3 {
            self.step();
            let head = put(self.other.clone(), service(&self.catalog, id, "other")).await;
            self.acknowledge(&head);
            self.tell(&format!("step {}", head.seq.0));
            let head = put(self.writer.clone(), service(&self.catalog, id, "own")).await;
            self.acknowledge(&head);
            let mut heads = self.other.subscribe();
            heads.wait_for(|seen| seen.seq == head.seq).await.unwrap();
        }
    }

    /// What lies beside the events.
    async fn beside(&mut self) {
        for id in 1..3 {
            let row = promotion(id);
            assert!(self.log.record_promotion(&row).await.unwrap());
            self.tell(&format!("promotion {id}"));
        }
        let token = token();
        self.log.create_token(&token).await.unwrap();
        self.tell("token");
        self.log.revoke_token(token.id, token.created_at, "bob").await.unwrap();
        self.tell("revoked");
        self.log.raise_epoch(EPOCH).await.unwrap();
        self.tell("epoch");
    }

    async fn clear(&mut self) {
        let cleared = gc::clear(&*self.log, POLICY, &[], self.clock.now(), false).await.unwrap();
        assert!(!cleared.interrupted);
    }

    async fn roll_back(&mut self, to: u64) {
        self.step();
        let writer = self.writer.force(true);
        let head = writer.rollback(origin(), Moment::Seq(Seq(to))).await.unwrap();
        self.acknowledge(&head);
    }
}

pub(super) async fn put(writer: Writer, entity: Entity) -> Arc<Head> {
    let decide =
        move |_: &Config, _: &mut Fresh<'_>| Ok((vec![Change::Upserted(entity.clone())], ()));
    writer.write(origin(), decide).await.unwrap().1
}

pub(super) fn promotion(id: u64) -> PromotionRow {
    PromotionRow {
        id,
        at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        actor: "ann".into(),
        source: "cli".into(),
        reason: None,
        decision: json!({"type": "unfrozen"}).to_string(),
    }
}

pub(super) fn token() -> Token {
    Token {
        id: Uuid::from_u128(9),
        name: "ci".parse().unwrap(),
        role: AdminRole::Editor,
        hash: TokenHash::from_bytes([3; 32]),
        created_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        created_by: "ann".into(),
        expires_at: None,
        revoked: None,
    }
}
