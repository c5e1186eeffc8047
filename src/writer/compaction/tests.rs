//! Compactions of real logs in memory: whatever was moved, the same configs, hashes and chain.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::decide::Fresh;
use crate::domain::entity::{Entity, Key};
use crate::domain::event::{Change, EventKind, Origin};
use crate::domain::hash::ConfigHash;
use crate::domain::kinds::service;
use crate::log::memory::MemoryLog;
use crate::log::moment::Moment;
use crate::log::transfer::{self, Header, Reader};
use crate::log::{EventLog as _, Meta, Tip, archive as files};
use crate::writer::audit::{self, Audit};
use crate::writer::blame::blame;
use crate::writer::filter::Filter;
use crate::writer::gc;
use crate::writer::history::AtError;
use crate::writer::search::Search;
use crate::writer::{Head, Writer};

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(Vec::new()))
}

fn meta() -> Meta {
    Meta { cluster_id: Uuid::from_u128(7), signing_key: vec![1, 2, 3], epoch: 0 }
}

fn service(id: u128, host: &str) -> Entity {
    let mut document = json!({"id": Uuid::from_u128(id), "name": format!("s{id}"), "host": host});
    let document = document.as_object_mut().unwrap();
    catalog().complete(service::KIND, document).unwrap();
    Entity::new(service::KIND, document).unwrap()
}

fn key(id: u128) -> Key {
    Key { kind: service::KIND, id: Uuid::from_u128(id) }
}

/// A log, its writer, its archives, and the heads that it had.
struct World {
    directory: PathBuf,
    log: Arc<MemoryLog>,
    writer: Writer,
    archives: Vec<PathBuf>,
    heads: Vec<Arc<Head>>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl World {
    async fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("hybridctl-{}", Clock::System.id()));
        std::fs::create_dir(&directory).unwrap();
        let log = Arc::new(MemoryLog::default());
        log.meta(meta()).await.unwrap();
        let (writer, task) = Writer::open(log.clone(), catalog(), Clock::System).await.unwrap();
        tokio::spawn(task.run(std::future::pending()));
        let heads = vec![writer.head()];
        Self { directory, log, writer, archives: Vec::new(), heads }
    }

    /// Starts with so many events, of which each sets a host of its own.
    async fn with(events: u64) -> Self {
        let mut world = Self::start().await;
        for n in 1..=events {
            world.write(Change::Upserted(service(u128::from(n % 7), &format!("h{n}")))).await;
        }
        world
    }

    async fn write(&mut self, change: Change) {
        let origin = Origin {
            actor: "ann".into(),
            request_id: "r".into(),
            source: "test".into(),
            kind: EventKind::Written,
            reason: None,
        };
        let decide = move |_: &_, _: &mut Fresh<'_>| Ok((vec![change.clone()], ()));
        let head = self.writer.write(origin, decide).await.unwrap().1;
        if head.seq > self.heads[self.heads.len() - 1].seq {
            self.heads.push(head);
        }
    }

    fn history(&self) -> &History {
        self.writer.history()
    }

    fn hash(&self, seq: usize) -> ConfigHash {
        self.heads[seq].config_hash
    }

    async fn plan(&self, keep: Keep) -> Option<Plan> {
        plan(self.history(), keep).await.unwrap()
    }

    async fn archive(&mut self, plan: &Plan) {
        let path = self.directory.join(format!("{}.gz", plan.first()));
        archive(&*self.log, meta(), plan, &path, |_| {}).await.unwrap();
        check(plan, &path).unwrap();
        if !self.archives.contains(&path) {
            self.archives.push(path);
        }
    }

    async fn record(&self, plan: &Plan) -> Result<(), CompactError> {
        let name = format!("{}.gz", plan.first());
        record(&*self.log, plan, name, DateTime::UNIX_EPOCH, "ann".into()).await
    }

    async fn compact(&mut self, keep: Keep, referred: &Referred) {
        if let Some(plan) = self.plan(keep).await {
            self.archive(&plan).await;
            anchor(self.history(), &plan).await.unwrap();
            self.record(&plan).await.unwrap();
        }
        assert_eq!(retain(self.history(), referred).await.unwrap(), []);
        remove(&*self.log, |_| {}).await.unwrap();
    }

    async fn at(&self, seq: u64) -> Result<Arc<Head>, AtError> {
        self.history().at(Moment::Seq(Seq(seq))).await
    }

    /// Checks everything that can be asked of the past.
    async fn check(&self) {
        let floor = self.history().floor().await.unwrap();
        let end = audit::verify(self.history()).await.unwrap();
        assert_eq!(end.tip(), self.heads.last().unwrap().tip());
        for known in &self.heads {
            let fresh = History::new(self.log.clone(), catalog());
            match fresh.at(Moment::Seq(known.seq)).await {
                Ok(head) => {
                    let found = (head.tip(), head.at, head.config_hash);
                    assert_eq!(found, (known.tip(), known.at, known.config_hash));
                    assert_eq!(head.snapshot.config(), known.snapshot.config());
                }
                Err(AtError::Archived(archived)) => {
                    assert!(known.seq < floor && archived.oldest == floor.next());
                    assert!((archived.first..=archived.last).contains(&known.seq));
                }
                Err(error) => panic!("{}: {error:?}", known.seq),
            }
        }
        let opened = Writer::open(self.log.clone(), catalog(), Clock::System).await.unwrap();
        assert_eq!(opened.0.head().tip(), self.writer.head().tip());
        if !self.archives.is_empty() {
            let first = Reader::new(files::open(&self.archives[0]).unwrap()).unwrap();
            let mut audit = Audit::begin_with(self.history(), &first).await.unwrap();
            assert_eq!(audit.head.seq, Seq(0));
            for archive in &self.archives {
                let archive = Reader::new(files::open(archive).unwrap()).unwrap();
                audit.archive(archive, |_| {}).unwrap();
            }
            audit.rest(|_| {}).await.unwrap();
            assert_eq!(audit.head.tip(), end.tip());
        }
    }

    async fn exported(&self) -> Vec<u8> {
        let header = Header::of(&*self.log, meta()).await.unwrap();
        let first = self.history().rebuild(header.start().seq, None).await.unwrap();
        let nodes = if header.start() == Tip::START { Vec::new() } else { nodes(&first) };
        let mut file = Vec::new();
        transfer::export(&*self.log, &header, &nodes, &mut file, |_| {}).await.unwrap();
        file
    }

    /// Checks that the log comes back from its export, with its archives and without.
    async fn check_import(&self) {
        let file = self.exported().await;
        let rest = || Reader::new(file.as_slice()).unwrap();
        rest().check().unwrap();
        let alone = MemoryLog::default();
        transfer::import(&alone, rest(), 1, |_| {}).await.unwrap();
        assert_eq!(alone.checkpoints().await.unwrap(), self.log.checkpoints().await.unwrap());
        let whole = MemoryLog::default();
        for path in &self.archives {
            let archive = Reader::new(files::open(path).unwrap()).unwrap();
            transfer::import(&whole, archive, 1, |_| {}).await.unwrap();
        }
        transfer::import(&whole, rest(), 1, |_| {}).await.unwrap();
        assert_eq!(whole.checkpoints().await.unwrap(), []);
        for (log, count) in [(alone, None), (whole, Some(self.heads.len() as u64 - 1))] {
            let history = History::new(Arc::new(log), catalog());
            let head = audit::verify(&history).await.unwrap();
            assert_eq!(head.tip(), self.writer.head().tip());
            let (newest, wanted) = (history.newest().await.unwrap(), self.writer.head());
            assert_eq!(newest.snapshot.config(), wanted.snapshot.config());
            if let Some(count) = count {
                let rows = history.log().read(Seq(0), u32::MAX).await.unwrap();
                assert_eq!(rows.len() as u64, count, "nothing is missing");
            }
        }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

/// What happens to a log.
#[derive(Clone, Debug)]
enum Step {
    Put(u128, u8),
    Delete(u128),
    Compact(u64),
    StoreSnapshot,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6_u128, 0..4_u8).prop_map(|(id, host)| Step::Put(id, host)),
        2 => (0..6_u128).prop_map(Step::Delete),
        2 => (1..12_u64).prop_map(Step::Compact),
        1 => Just(Step::StoreSnapshot),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever is moved away and when: what is left is the same, and with the archives all is.
    #[test]
    fn a_compacted_log_is_the_same_log(steps in proptest::collection::vec(step(), 1..40)) {
        block_on(async {
            let mut world = World::start().await;
            for step in steps {
                match step {
                    Step::Put(id, host) => {
                        world.write(Change::Upserted(service(id, &format!("h{host}")))).await;
                    }
                    Step::Delete(id) if world.writer.head().snapshot.config().find(key(id)).is_some() => {
                        world.write(Change::Deleted(key(id))).await;
                    }
                    Step::Delete(_) => {}
                    Step::Compact(keep) => {
                        world.compact(Keep::Events(keep), &Referred::default()).await;
                        world.check().await;
                    }
                    Step::StoreSnapshot => {
                        let heads = world.writer.subscribe();
                        let log = world.log.clone();
                        crate::writer::projector::Projector::new(log, heads).store().await.unwrap();
                    }
                    Step::Clear => {
                        let policy = gc::Policy { keep: 1, age: TimeDelta::zero() };
                        let later = Clock::System.now() + TimeDelta::days(1);
                        gc::clear(&*world.log, policy, &[], later, false).await.unwrap();
                    }
                }
            }
            world.check().await;
            world.check_import().await;
        });
    }
}

#[tokio::test]
async fn a_compaction_that_was_cut_off_anywhere_is_finished_by_the_next_one() {
    for cut in 0..=7 {
        let mut world = World::with(20).await;
        let plan = world.plan(Keep::Events(5)).await.unwrap();
        if cut == 0 {
            std::fs::write(world.directory.join("1.gz.new"), "half a file").unwrap();
        }
        if cut >= 1 {
            world.archive(&plan).await;
        }
        if cut >= 2 {
            anchor(world.history(), &plan).await.unwrap();
        }
        if cut >= 3 {
            world.record(&plan).await.unwrap();
        }
        let held = Referred { positions: vec![(Seq(14), world.hash(14))], ..Referred::default() };
        if cut >= 4 {
            retain(world.history(), &held).await.unwrap();
        }
        for _ in 5..=cut {
            world.log.remove_archived(4).await.unwrap();
        }
        world.check().await;
        world.compact(Keep::Events(5), &held).await;
        world.check().await;
        world.check_import().await;
        let left = world.log.read(Seq(0), 100).await.unwrap();
        assert_eq!((left.len(), left[0].seq), (5, Seq(16)), "cut after step {cut}");
        assert_eq!(world.at(14).await.unwrap().config_hash, world.hash(14));
        let ends: Vec<_> = world.log.checkpoints().await.unwrap();
        assert_eq!(ends.iter().map(|it| it.end.seq.0).collect::<Vec<_>>(), [15]);
    }
}

#[tokio::test]
async fn of_two_who_compact_at_once_one_records_its_checkpoint() {
    let mut world = World::with(20).await;
    let (one, two) = (world.plan(Keep::Events(5)).await, world.plan(Keep::Events(3)).await);
    for plan in [&one, &two].into_iter().flatten() {
        anchor(world.history(), plan).await.unwrap();
    }
    world.archive(one.as_ref().unwrap()).await;
    world.record(one.as_ref().unwrap()).await.unwrap();
    let late = world.record(two.as_ref().unwrap()).await;
    assert!(matches!(late, Err(CompactError::Raced)), "{late:?}");
    world.compact(Keep::Events(3), &Referred::default()).await;
    world.check().await;
}

#[tokio::test]
async fn an_archive_that_is_not_whole_moves_nothing() {
    let mut world = World::with(20).await;
    let plan = world.plan(Keep::Events(5)).await.unwrap();
    world.archive(&plan).await;
    let path = world.archives[0].clone();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(check(&plan, &path), Err(CompactError::Read(_))));
    // A file that is something else is not written over.
    let again = archive(&*world.log, meta(), &plan, &path, |_| {}).await;
    assert!(matches!(again, Err(CompactError::Exists)), "{again:?}");
    // A checkpoint whose config is not stored would lead nowhere.
    assert!(matches!(world.record(&plan).await, Err(CompactError::Raced)));
    assert_eq!(world.log.remove_archived(100).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_referred_to_stays_readable_and_the_checkpoint_is_never_cleared_away() {
    let mut world = World::with(40).await;
    let referred = Referred {
        positions: vec![(Seq(5), world.hash(5)), (Seq(35), world.hash(35))],
        configs: vec![world.hash(7), ConfigHash([9; 32])],
    };
    world.compact(Keep::Events(10), &referred).await;
    for seq in [0, 5, 7, 30, 31] {
        assert_eq!(world.at(seq as u64).await.unwrap().config_hash, world.hash(seq), "{seq}");
    }
    let by_hash = world.history().at(Moment::Hash(world.hash(7).into())).await.unwrap();
    assert_eq!(by_hash.tip(), world.heads[7].tip());
    let archived = world.at(6).await.unwrap_err();
    assert_eq!(
        archived.to_string(),
        "6 is in the archive 1.gz (events 1 to 30); the oldest event of this log is 31"
    );
    let unknown = world.history().at(Moment::Hash(world.hash(8).into())).await.unwrap_err();
    assert!(unknown.to_string().contains("since event 31"), "{unknown}");
    let time = world.history().at(Moment::Time(DateTime::UNIX_EPOCH)).await;
    assert!(matches!(time, Err(AtError::Archived(_))), "{time:?}");

    let policy = gc::Policy { keep: 1, age: TimeDelta::zero() };
    let later = Clock::System.now() + TimeDelta::days(1);
    gc::clear(&*world.log, policy, &[world.hash(7)], later, false).await.unwrap();
    assert_eq!(world.at(7).await.unwrap().config_hash, world.hash(7));
    assert!(matches!(world.at(5).await, Err(AtError::Archived(_))));
    world.check().await;
    let lost = retain(world.history(), &referred).await.unwrap();
    assert_eq!(lost.iter().map(|it| it.seq.0).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn a_writer_that_lags_behind_what_was_moved_goes_on_from_the_checkpoint() {
    let mut world = World::with(10).await;
    let opened = Writer::open(world.log.clone(), catalog(), Clock::System).await.unwrap();
    let (lagging, task) = opened;
    // It has visited old configs, which it keeps, and which are no way to newer ones any more.
    lagging.at(Moment::Seq(Seq(3))).await.unwrap();
    for n in 0..20 {
        world.write(Change::Upserted(service(1, &format!("n{n}")))).await;
    }
    world.compact(Keep::Events(5), &Referred::default()).await;
    let mut heads = lagging.subscribe();
    let running = tokio::spawn(task.run(std::future::pending()));
    let caught_up = heads.wait_for(|head| head.seq == Seq(30));
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, caught_up).await.unwrap().unwrap();
    assert_eq!(lagging.head().config_hash, world.hash(30));
    assert_eq!(lagging.at(Moment::Seq(Seq(27))).await.unwrap().config_hash, world.hash(27));
    assert_eq!(lagging.at(Moment::Seq(Seq(3))).await.unwrap().config_hash, world.hash(3));
    let gone = lagging.at(Moment::Seq(Seq(4))).await;
    assert!(matches!(gone, Err(AtError::Archived(_))), "{gone:?}");
    running.abort();
}

#[tokio::test]
async fn questions_about_events_end_where_the_log_begins() {
    let mut world = World::with(20).await;
    world.write(Change::Upserted(service(1, "h1").clone())).await;
    let before = blame(world.history(), key(1), Seq(21), None).await.unwrap();
    assert!(before.iter().all(|field| field.event.is_some()));
    world.compact(Keep::From(Seq(21)), &Referred::default()).await;
    let fields = blame(world.history(), key(1), Seq(21), None).await.unwrap();
    for (field, before) in fields.iter().zip(&before) {
        let by = field.event.as_ref().map(|event| event.seq);
        let wanted = Some(Seq(21)).filter(|_| field.path == "host");
        assert_eq!((&field.path, &field.value, by), (&before.path, &before.value, wanted));
    }
    // One that no event here is about.
    let untouched = blame(world.history(), key(2), Seq(21), Some("host")).await.unwrap();
    assert_eq!(untouched[0].value, Some(json!("h16")));
    assert!(untouched[0].event.is_none());
    let early = blame(world.history(), key(2), Seq(4), None).await.unwrap_err();
    assert!(anyhow::Error::new(early).chain().any(|it| it.to_string().contains("in the archive")));

    let filter = Filter { after: Seq(3), ..Filter::default() };
    let gone = Search::new(world.history().clone(), filter).step().await;
    assert!(matches!(gone, Err(ReplayError::Archived(_))), "{gone:?}");
    let filter = Filter { after: Seq(20), ..Filter::default() };
    let found = Search::new(world.history().clone(), filter).step().await.unwrap().unwrap();
    assert_eq!(found.iter().map(|event| event.seq.0).collect::<Vec<_>>(), [21]);
}

#[tokio::test]
async fn a_clock_that_was_wrong_moves_nothing_that_is_young() {
    let log = MemoryLog::default();
    let mut tip = Tip::START;
    // Times in seconds, of events 1 to 6.
    for at in [10, 20, 50, 15, 60, 5] {
        let origin = Origin {
            actor: "ann".into(),
            request_id: "r".into(),
            source: "test".into(),
            kind: EventKind::Written,
            reason: None,
        };
        let at = DateTime::from_timestamp(at, 0).unwrap();
        let row = crate::log::row::Row::seal(tip, at, &origin, &[], ConfigHash([1; 32]));
        log.append(tip, std::slice::from_ref(&row)).await.unwrap();
        tip = row.tip();
    }
    let history = History::new(Arc::new(log), catalog());
    for (keep, last) in [
        (Keep::Since(DateTime::from_timestamp(5, 0).unwrap()), None),
        (Keep::Since(DateTime::from_timestamp(20, 0).unwrap()), Some(1)),
        (Keep::Since(DateTime::from_timestamp(40, 0).unwrap()), Some(2)),
        (Keep::Since(DateTime::from_timestamp(55, 0).unwrap()), Some(4)),
        (Keep::Since(DateTime::from_timestamp(1000, 0).unwrap()), Some(5)),
        (Keep::Events(2), Some(4)),
        (Keep::Events(0), Some(5)),
        (Keep::Events(6), None),
        (Keep::From(Seq(3)), Some(2)),
        (Keep::From(Seq(1)), None),
        (Keep::From(Seq(1000)), Some(5)),
    ] {
        let found = plan(&history, keep).await.unwrap();
        assert_eq!(found.map(|plan| plan.end.seq.0), last, "{keep:?}");
    }
}
