//! Clearing away on real trees: what stays is whole, whatever others store meanwhile.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::entity::Entity;
use crate::domain::event::{Change, EventKind, Origin};
use crate::domain::kinds::service;
use crate::log::fleet::{ControlPlaneRow, DataPlaneNews};
use crate::log::memory::MemoryLog;
use crate::log::moment::Moment;
use crate::writer::history::History;
use crate::writer::projector::Projector;
use crate::writer::{Head, Writer};

/// No age, so that only counts and names keep.
const NONE: Policy = Policy { keep: 1, age: TimeDelta::zero() };

fn tomorrow() -> DateTime<Utc> {
    Clock::System.now() + TimeDelta::days(1)
}

struct World {
    log: Arc<MemoryLog>,
    writer: Writer,
    projector: Projector,
}

impl World {
    async fn start() -> Self {
        let log = Arc::new(MemoryLog::default());
        let catalog = Arc::new(Catalog::new(Vec::new()));
        let opened = Writer::open(log.clone(), catalog, Clock::System).await;
        let (writer, task) = opened.unwrap();
        tokio::spawn(task.run(std::future::pending()));
        let projector = Projector::new(log.clone(), writer.subscribe());
        Self { log, writer, projector }
    }

    /// Puts services and stores the snapshot.
    async fn put(&mut self, ids: std::ops::Range<u128>, host: &str) -> Arc<Head> {
        let head = write(&self.writer, ids, host).await;
        self.projector.store().await.unwrap();
        head
    }

    async fn clear(&self, policy: Policy, retained: &[ConfigHash]) -> Cleared {
        clear(&*self.log, policy, retained, tomorrow(), false).await.unwrap()
    }

    async fn seqs(&self) -> Vec<u64> {
        self.log.stored_snapshots().await.unwrap().iter().map(|it| it.seq.0).collect()
    }

    /// Rebuilds each stored snapshot from its nodes alone.
    async fn all_are_whole(&self) {
        let history = History::new(self.log.clone(), Arc::new(Catalog::new(Vec::new())));
        for stored in self.log.stored_snapshots().await.unwrap() {
            let head = history.load(stored).await.unwrap();
            assert_eq!(head.config_hash, stored.config_hash);
        }
    }
}

async fn write(writer: &Writer, ids: std::ops::Range<u128>, host: &str) -> Arc<Head> {
    let origin = Origin {
        actor: "ann".into(),
        request_id: "r".into(),
        source: "test".into(),
        kind: EventKind::Written,
        reason: None,
    };
    let catalog = writer.history().catalog();
    let entity = |id: u128| {
        let name = format!("s{id}");
        let mut document = json!({"id": Uuid::from_u128(id + 1), "host": host, "name": name});
        let document = document.as_object_mut().unwrap();
        catalog.complete(service::KIND, document).unwrap();
        Change::Upserted(Entity::new(service::KIND, document).unwrap())
    };
    let changes: Vec<_> = ids.map(entity).collect();
    writer.write(origin, move |_, _| Ok((changes.clone(), ()))).await.unwrap().1
}

#[tokio::test]
async fn the_newest_and_the_retained_stay_and_are_whole() {
    let mut world = World::start().await;
    let mut heads = Vec::new();
    for n in 0..8 {
        heads.push(world.put(n * 20..n * 20 + 200, &format!("h{n}")).await);
    }
    let before = world.log.stored_nodes(None, 10_000).await.unwrap().len();
    let told = clear(&*world.log, NONE, &[], tomorrow(), true).await.unwrap();
    assert_eq!(world.seqs().await.len(), 8, "a dry run removes nothing");
    let policy = Policy { keep: 2, ..NONE };
    let cleared = world.clear(policy, &[heads[2].config_hash]).await;
    assert_eq!(world.seqs().await, [3, 7, 8]);
    assert_eq!((cleared.kept, cleared.snapshots.len(), cleared.interrupted), (3, 5, false));
    let left = world.log.stored_nodes(None, 10_000).await.unwrap().len();
    assert!(left < before && before - left == cleared.nodes && cleared.nodes < told.nodes);
    world.all_are_whole().await;
    assert_eq!(world.clear(policy, &[heads[2].config_hash]).await.nodes, 0);
    // The log leads to what is gone.
    let at = world.writer.history().at(Moment::Hash(heads[4].config_hash.into())).await.unwrap();
    assert_eq!(at.config_hash, heads[4].config_hash);
}

#[tokio::test]
async fn the_young_stay() {
    let mut world = World::start().await;
    for n in 0..4 {
        world.put(n..n + 2, "h").await;
    }
    let policy = Policy { keep: 1, age: TimeDelta::days(7) };
    assert_eq!(world.clear(policy, &[]).await.snapshots.len(), 0);
    let for_ever = Policy { keep: 1, age: TimeDelta::MAX };
    assert_eq!(world.clear(for_ever, &[]).await.snapshots.len(), 0);
    assert_eq!(world.clear(NONE, &[]).await.snapshots.len(), 3);
}

#[tokio::test]
async fn a_projector_whose_base_is_gone_stores_everything_again() {
    let mut world = World::start().await;
    world.put(0..300, "a").await;
    // Another control plane stores a newer one and clears this one's away.
    write(&world.writer, 0..300, "b").await;
    Projector::new(world.log.clone(), world.writer.subscribe()).store().await.unwrap();
    world.clear(NONE, &[]).await;
    assert_eq!(world.seqs().await, [2]);
    world.put(0..1, "c").await;
    assert_eq!(world.seqs().await, [2, 3]);
    world.all_are_whole().await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_cleared_away_so_that_the_next_one_is_whole() {
    let mut world = World::start().await;
    let head = world.put(0..1000, "a").await;
    let root = NodeHash(head.config_hash.0);
    let stored = world.log.stored_snapshots().await.unwrap();
    assert!(world.log.remove_nodes(&stored, &[root]).await.unwrap());
    let cleared = world.clear(NONE, &[]).await;
    assert_eq!((cleared.snapshots.len(), cleared.kept), (1, 0));
    world.put(0..1, "b").await;
    world.all_are_whole().await;
}

#[tokio::test]
async fn clearing_beside_a_projector_leaves_only_whole_snapshots() {
    let mut world = World::start().await;
    let log = world.log.clone();
    let clearing = tokio::spawn(async move {
        for _ in 0..60 {
            let later = tomorrow();
            clear(&*log, NONE, &[], later, false).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for n in 0..30_u128 {
        world.put(n * 3..n * 3 + 40, &format!("h{n}")).await;
    }
    clearing.await.unwrap();
    world.all_are_whole().await;
    world.clear(NONE, &[]).await;
    world.all_are_whole().await;
}

#[tokio::test]
async fn data_planes_of_the_database_are_known() {
    let log = MemoryLog::default();
    let (hash, now) = (ConfigHash([7; 32]), Clock::System.now());
    let served = format!(r#"{{"applied_hash":"{hash}"}}"#);
    let cases = [(&*served, tomorrow()), ("{}", tomorrow()), ("x", tomorrow()), (&served, now)];
    let news = (0_u128..).zip(cases).map(|(n, (row, expires_at))| DataPlaneNews {
        id: Uuid::from_u128(n),
        row: row.to_owned(),
        expires_at,
        spoke: true,
    });
    let (id, hostname) = (Uuid::nil(), String::new());
    let control_plane = ControlPlaneRow { id, node_id: id, hostname, beat: 1 };
    log.share(&control_plane, &news.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(configs_of_data_planes(&log, now).await.unwrap(), [hash]);
}
