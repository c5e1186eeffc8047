//! Rows in memory, and what control planes of one database tell each other.

use std::net::IpAddr;
use std::sync::Arc;

use super::share::Sharer;
use super::*;
use crate::clock::Clock;
use crate::log::fleet::FleetStore as _;
use crate::log::memory::MemoryLog;

const ID: Uuid = Uuid::from_u128(1);

fn arrival() -> Arrival {
    Arrival {
        id: ID,
        ip: IpAddr::from([127, 0, 0, 1]),
        hostname: "dp".into(),
        version: "3.9.1".into(),
        labels: [("region".to_owned(), "eu".to_owned())].into(),
        cert_expires_at: DateTime::UNIX_EPOCH,
        sync_status: "normal",
        dialect: Dialect::Native,
        applied: None,
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

fn refused() -> Refused {
    Refused {
        config_hash: ConfigHash([2; 32]),
        revision: 0,
        phase: "compile".into(),
        entity: Some("routes r".into()),
        pointer: Some("/paths".into()),
        reason: "no".into(),
    }
}

fn served(n: u8) -> Option<(Seq, ConfigHash)> {
    Some((Seq(n.into()), ConfigHash([n; 32])))
}

#[test]
fn an_old_connection_does_not_speak_for_a_new_one() {
    let fleet = Fleet::new(60);
    let first = fleet.joined(arrival(), at(0));
    let second = fleet.joined(arrival(), at(1));
    fleet.left(first, at(2));
    assert!(fleet.rows(at(2)).iter().all(|row| row.connected));
    fleet.left(second, at(3));
    assert!(fleet.rows(at(3)).iter().all(|row| !row.connected));
}

#[test]
fn a_row_tells_what_is_served_and_what_was_refused() {
    let fleet = Fleet::new(60);
    let visit = fleet.joined(arrival(), at(0));
    assert_eq!(fleet.rows(at(0))[0].config_hash, row::NOTHING);
    fleet.rejected(visit, refused(), at(1));
    assert_eq!(fleet.rows(at(1))[0].rejected, Some(refused()));
    fleet.applied(visit, served(1), Some(Duration::from_millis(7)), at(2));
    let row = &fleet.rows(at(2))[0];
    assert_eq!((row.lag_ms, &row.rejected, row.last_seen), (Some(7), &None, at(2)));
    assert_eq!(row.config_hash, "01".repeat(32));
    assert_eq!(row.refused, Some(refused()), "it may have gone back");
}

#[test]
fn a_hash_is_told_in_the_dialect_of_its_data_plane() {
    let fleet = Fleet::new(60);
    let visit = fleet.joined(Arrival { dialect: Dialect::Kong, ..arrival() }, at(0));
    fleet.applied(visit, served(1), None, at(0));
    let row = &fleet.rows(at(0))[0];
    assert_eq!(
        (&*row.config_hash, row.applied_hash),
        (&*"01".repeat(16), Some(ConfigHash([1; 32])))
    );
}

#[test]
fn rows_of_the_gone_are_hidden_at_once_and_forgotten_later() {
    let fleet = Fleet::new(60);
    let visit = fleet.joined(arrival(), at(0));
    fleet.expire(at(1000));
    assert_eq!(fleet.rows(at(1000)).len(), 1, "a connected one stays");
    fleet.applied(visit, None, None, at(1000));
    fleet.left(visit, at(1000));
    assert_eq!(fleet.rows(at(1059)).len(), 1);
    assert!(fleet.rows(at(1060)).is_empty());
    fleet.expire(at(1059));
    assert_eq!(fleet.rows(at(1000)).len(), 1);
    fleet.expire(at(1060));
    assert!(fleet.rows(at(1000)).is_empty());
}

/// Control planes of one database, whose turns and clock are a test's to decide.
struct World {
    store: Arc<MemoryLog>,
    clock: Clock,
    start: Instant,
}

struct Plane {
    fleet: Arc<Fleet>,
    sharer: Sharer,
}

impl World {
    fn new() -> Self {
        Self { store: Arc::default(), clock: Clock::seeded(at(0), 1), start: Instant::now() }
    }

    async fn plane(&self, n: u128) -> Plane {
        let here = ControlPlane { node_id: Uuid::from_u128(n), hostname: format!("cp{n}") };
        let fleet = Arc::new(Fleet::new(60).of(here));
        let clock = self.clock.clone();
        let sharer = Sharer::start(self.store.clone(), fleet.clone(), clock).await.unwrap();
        Plane { fleet, sharer }
    }

    fn now(&self) -> Instant {
        let elapsed_ms = (self.clock.now() - at(0)).num_milliseconds().unsigned_abs();
        self.start + Duration::from_millis(elapsed_ms)
    }

    async fn turn(&self, plane: &mut Plane) {
        plane.sharer.turn(self.now()).await.unwrap();
    }

    /// Returns where a plane believes that the data plane is connected, and what it serves.
    fn seen(&self, plane: &Plane) -> Option<(Option<String>, Option<Seq>)> {
        let row = plane.fleet.rows(self.clock.now()).pop()?;
        assert_eq!(row.connected, row.control_plane.is_some());
        Some((row.control_plane.map(|it| it.hostname), row.applied_seq))
    }
}

fn on(hostname: &str, seq: u64) -> Option<(Option<String>, Option<Seq>)> {
    Some((Some(hostname.to_owned()), Some(Seq(seq))))
}

fn off(seq: u64) -> Option<(Option<String>, Option<Seq>)> {
    Some((None, Some(Seq(seq))))
}

#[tokio::test]
async fn control_planes_know_each_others_data_planes_with_every_column() {
    let world = World::new();
    let (mut one, mut two) = (world.plane(1).await, world.plane(2).await);
    let visit = one.fleet.joined(arrival(), at(0));
    one.fleet.rejected(visit, refused(), at(0));
    one.fleet.applied(visit, served(3), None, at(0));
    world.turn(&mut one).await;
    assert_eq!(world.seen(&two), None);
    world.turn(&mut two).await;
    assert_eq!(one.fleet.rows(at(0)), two.fleet.rows(at(0)));
    assert_eq!(world.seen(&two), on("cp1", 3));
    assert!(two.fleet.connected_here().is_empty());
}

#[tokio::test]
async fn who_heard_a_data_plane_last_has_its_row() {
    let world = World::new();
    let (mut one, mut two) = (world.plane(1).await, world.plane(2).await);
    let old = one.fleet.joined(arrival(), at(0));
    one.fleet.applied(old, served(1), None, at(0));
    world.turn(&mut one).await;
    // It goes over; the first control plane has not noticed. Its clock is ahead.
    let new = two.fleet.joined(arrival(), at(0));
    two.fleet.applied(new, served(2), None, at(0));
    world.turn(&mut two).await;
    world.turn(&mut one).await;
    assert_eq!((world.seen(&one), world.seen(&two)), (on("cp2", 2), on("cp2", 2)));
    assert!(one.fleet.connected_here().is_empty());
    // What ends there later is of no matter any more.
    one.fleet.left(old, at(900));
    world.turn(&mut one).await;
    world.turn(&mut two).await;
    assert_eq!((world.seen(&one), world.seen(&two)), (on("cp2", 2), on("cp2", 2)));
    two.fleet.left(new, at(1));
    world.turn(&mut two).await;
    world.turn(&mut one).await;
    assert_eq!((world.seen(&one), world.seen(&two)), (off(2), off(2)));
}

#[tokio::test]
async fn a_late_word_of_an_old_connection_is_put_right() {
    let world = World::new();
    let (mut one, mut two) = (world.plane(1).await, world.plane(2).await);
    let old = one.fleet.joined(arrival(), at(0));
    one.fleet.applied(old, served(1), None, at(0));
    let new = two.fleet.joined(arrival(), at(1));
    two.fleet.applied(new, served(2), None, at(1));
    world.turn(&mut two).await;
    world.turn(&mut one).await;
    world.turn(&mut two).await;
    assert_eq!(world.seen(&two), on("cp1", 1), "the first one told its news later");
    // The end of the old connection, or a word of the new one, settles it.
    one.fleet.left(old, at(2));
    world.turn(&mut one).await;
    world.turn(&mut two).await;
    world.turn(&mut two).await;
    world.turn(&mut one).await;
    assert_eq!((world.seen(&one), world.seen(&two)), (on("cp2", 2), on("cp2", 2)));
}

#[tokio::test]
async fn without_its_control_plane_a_data_plane_is_not_connected() {
    let world = World::new();
    let (mut one, mut two) = (world.plane(1).await, world.plane(2).await);
    let visit = one.fleet.joined(arrival(), at(0));
    one.fleet.applied(visit, served(1), None, at(0));
    world.turn(&mut one).await;
    world.turn(&mut two).await;
    // Killed: its beat stands still.
    world.clock.advance(16_000);
    world.turn(&mut two).await;
    assert_eq!(world.seen(&two), off(1));
    world.turn(&mut one).await;
    world.turn(&mut two).await;
    assert_eq!(world.seen(&two), on("cp1", 1), "it was only slow");
    // Started again: the same node is somebody else.
    let one = world.plane(1).await;
    assert_eq!(world.seen(&one), off(1), "the row is there");
    world.turn(&mut two).await;
    assert_eq!(world.seen(&two), off(1));
    // Stopped: it says so.
    let visit = two.fleet.joined(arrival(), at(0));
    two.fleet.applied(visit, served(1), None, at(0));
    two.sharer.end().await.unwrap();
    let mut one = one;
    world.turn(&mut one).await;
    assert_eq!(world.seen(&one), off(1));
}

#[tokio::test]
async fn the_words_of_a_thousand_data_planes_are_one_transaction() {
    let world = World::new();
    let mut one = world.plane(1).await;
    let join = |n| one.fleet.joined(Arrival { id: Uuid::from_u128(n), ..arrival() }, at(0));
    let visits: Vec<_> = (1..=1000).map(join).collect();
    for second in 1..5 {
        for visit in &visits {
            one.fleet.applied(*visit, served(1), None, at(second));
        }
    }
    world.turn(&mut one).await;
    let rows = world.store.data_planes(None).await.unwrap();
    assert_eq!(rows.len(), 1000);
    assert!(rows.iter().all(|row| row.revision == 1));
    // With nothing to tell, nothing is written but a beat now and then.
    for _ in 0..4 {
        world.clock.advance(1000);
        world.turn(&mut one).await;
    }
    assert_eq!(world.store.control_planes().await.unwrap()[0].beat, 1);
    world.clock.advance(1000);
    world.turn(&mut one).await;
    assert_eq!(world.store.control_planes().await.unwrap()[0].beat, 2);
}

#[test]
fn a_row_of_another_release_can_be_read() {
    let fleet = Fleet::new(60);
    fleet.joined(arrival(), at(0));
    let mut row = serde_json::to_value(&fleet.rows(at(0))[0]).unwrap();
    let columns = row.as_object_mut().unwrap();
    columns.insert("column_to_come".into(), 1.into());
    columns.insert("sync_status".into(), "status_to_come".into());
    for absent in ["labels", "dialect", "lag_ms", "rejected", "cert_expires_at"] {
        columns.remove(absent);
    }
    let read: DataPlaneRow = serde_json::from_value(row).unwrap();
    assert_eq!((read.sync_status, read.dialect), ("unknown", Dialect::Native));
    assert_eq!((read.labels.len(), read.cert_expires_at, read.hostname.as_str()), (0, None, "dp"));
}

#[tokio::test]
async fn what_has_expired_is_purged_for_all() {
    let world = World::new();
    let (mut one, mut two) = (world.plane(1).await, world.plane(2).await);
    let visit = one.fleet.joined(arrival(), world.clock.now());
    one.fleet.applied(visit, served(1), None, world.clock.now());
    one.fleet.left(visit, world.clock.now());
    world.turn(&mut one).await;
    world.turn(&mut two).await;
    world.clock.advance(59_999);
    assert_eq!(world.seen(&two), off(1));
    world.clock.advance(1);
    assert_eq!((world.seen(&one), world.seen(&two)), (None, None), "hidden at once");
    assert_eq!(world.store.data_planes(None).await.unwrap().len(), 1);
    world.turn(&mut two).await;
    assert!(world.store.data_planes(None).await.unwrap().is_empty());
}
