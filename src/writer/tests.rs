//! Writers on real logs: batches, conflicts, cancelled callers, failing storage.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::audit::AuditError;
use super::projector::Projector;
use super::*;
use crate::domain::entity::{Entity, Key};
use crate::domain::kinds::{route, service};
use crate::log::StorageError;
use crate::log::row::Row;
use crate::log::sqlite::SqliteLog;

/// A log in a directory of its own, removed at the end.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("hybridctl-{}", Clock::System.id()));
        std::fs::create_dir(&directory).unwrap();
        Self { directory }
    }

    async fn log(&self) -> Arc<SqliteLog> {
        Arc::new(SqliteLog::open(&self.directory.join("log.db")).await.unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(Vec::new()))
}

fn origin() -> Origin {
    Origin {
        actor: "ann".into(),
        request_id: "r1".into(),
        source: "test".into(),
        kind: EventKind::Written,
        reason: None,
    }
}

fn service(id: u128, host: &str) -> Entity {
    let mut document = json!({"id": Uuid::from_u128(id), "name": format!("s{id}"), "host": host});
    let document = document.as_object_mut().unwrap();
    catalog().complete(service::KIND, document).unwrap();
    Entity::new(service::KIND, document).unwrap()
}

async fn start(log: Arc<dyn EventLog>) -> (Writer, JoinHandle<()>) {
    let (writer, task) = Writer::open(log, catalog(), Clock::System).await.unwrap();
    (writer, tokio::spawn(task.run(std::future::pending())))
}

async fn put(writer: &Writer, id: u128, host: &str) -> Arc<Head> {
    let entity = service(id, host);
    let decide = move |_: &Config, _: &mut Fresh<'_>| Ok((vec![upsert(&entity)], ()));
    writer.write(origin(), decide).await.unwrap().1
}

fn upsert(entity: &Entity) -> Change {
    Change::Upserted(entity.clone())
}

#[tokio::test]
async fn concurrent_writes_are_batched_and_each_gets_its_own_event() {
    let place = Place::new();
    let log = place.log().await;
    let (writer, _task) = start(log.clone()).await;

    let writes = (0..50).map(|id| {
        let writer = writer.clone();
        tokio::spawn(async move { put(&writer, id, "a").await.seq })
    });
    let mut seqs = Vec::new();
    for write in writes.collect::<Vec<_>>() {
        seqs.push(write.await.unwrap());
    }

    seqs.sort_unstable();
    assert_eq!(seqs, (1..=50).map(Seq).collect::<Vec<_>>());
    assert_eq!(writer.head().seq, Seq(50));
    assert_eq!(log.tip().await.unwrap(), writer.head().tip());
    let reopened = Writer::open(log, catalog(), Clock::System).await.unwrap().0;
    assert_eq!(reopened.head().config_hash, writer.head().config_hash);
}

#[tokio::test]
async fn a_write_that_changes_nothing_appends_nothing() {
    let place = Place::new();
    let (writer, _task) = start(place.log().await).await;
    let first = put(&writer, 1, "a").await;
    let again = put(&writer, 1, "a").await;
    assert_eq!((first.seq, again.seq), (Seq(1), Seq(1)));
}

#[tokio::test]
async fn a_rejected_write_tells_why_and_appends_nothing() {
    let place = Place::new();
    let (writer, _task) = start(place.log().await).await;
    put(&writer, 1, "a").await;
    let by_route = Rejection::Referenced { kind: service::KIND, by: route::KIND };
    let refusal = by_route.clone();
    let write = writer.write::<(), _>(origin(), move |_, _| Err(refusal.clone())).await;
    assert!(matches!(write, Err(WriteError::Rejected(why)) if why == by_route));
    assert_eq!(writer.head().seq, Seq(1));
}

#[tokio::test]
async fn of_writes_that_want_the_same_config_one_happens() {
    let place = Place::new();
    let (writer, task) = start(place.log().await).await;
    let wanted = put(&writer, 1, "a").await.config_hash;
    let writes = (2..12).map(|id| {
        let writer = writer.when(Precondition::OneOf(vec![wanted]));
        let entity = service(id, "a");
        let decide = move |_: &Config, _: &mut Fresh<'_>| Ok((vec![upsert(&entity)], ()));
        tokio::spawn(async move { writer.write(origin(), decide).await })
    });
    let mut written = 0;
    for write in writes.collect::<Vec<_>>() {
        match write.await.unwrap() {
            Ok(_) => written += 1,
            Err(WriteError::Stale { current }) => assert_eq!(current, writer.head().config_hash),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((written, writer.head().seq), (1, Seq(2)));
    task.abort();
}

#[tokio::test]
async fn an_old_config_is_rebuilt_once() {
    let place = Place::new();
    let (writer, task) = start(place.log().await).await;
    let first = put(&writer, 1, "a").await;
    put(&writer, 2, "a").await;
    let at = async |moment: &str| writer.at(moment.parse().unwrap()).await.unwrap();
    let again = at("1").await;
    assert_eq!((again.config_hash, again.snapshot.config().len()), (first.config_hash, 1));
    assert!(Arc::ptr_eq(&again, &at(&first.config_hash.to_hex()).await));
    assert!(Arc::ptr_eq(&writer.head(), &at("2").await));
    assert!(matches!(writer.at(Moment::Seq(Seq(3))).await, Err(AtError::Beyond { .. })));
    task.abort();
}

#[tokio::test]
async fn a_write_that_a_caller_left_happens_and_the_next_one_goes_on() {
    let place = Place::new();
    let (writer, task) = Writer::open(place.log().await, catalog(), Clock::System).await.unwrap();
    let entity = service(1, "a");
    let left = writer.write(origin(), move |_, _| Ok((vec![upsert(&entity)], ())));
    // Polled once, so that it is waiting; then dropped, as when a client hangs up.
    tokio::select! {
        biased;
        _ = left => panic!("nobody runs the task yet"),
        () = std::future::ready(()) => {}
    }
    let running = tokio::spawn(task.run(std::future::pending()));
    assert_eq!(put(&writer, 2, "b").await.seq, Seq(2));
    assert_eq!(writer.head().snapshot.config().len(), 2);
    running.abort();
}

#[tokio::test]
async fn a_second_writer_is_noticed_and_a_conflict_decided_again() {
    let place = Place::new();
    let (one, _one) = start(place.log().await).await;
    let (two, _two) = start(place.log().await).await;

    put(&one, 1, "a").await;
    let mut heads = two.subscribe();
    heads.wait_for(|head| head.seq == Seq(1)).await.unwrap();
    assert_eq!(two.head().config_hash, one.head().config_hash);

    // Both at once: whoever comes second sees the other's write when it decides again.
    let tries = Arc::new(AtomicUsize::new(0));
    let both = [&one, &two].map(|writer| {
        let (writer, tries) = (writer.clone(), tries.clone());
        tokio::spawn(async move {
            for _ in 0..20 {
                let tries = tries.clone();
                let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
                    tries.fetch_add(1, Ordering::Relaxed);
                    let id = (fresh.id)().as_u128();
                    Ok((vec![upsert(&service(id, "h"))], config.len()))
                };
                let (before, head) = writer.write(origin(), decide).await.unwrap();
                assert_eq!(before as u64, head.seq.0 - 1, "decided on the config just before");
            }
        })
    });
    for task in both {
        task.await.unwrap();
    }
    let mut heads = one.subscribe();
    heads.wait_for(|head| head.seq == Seq(41)).await.unwrap();
    assert!(tries.load(Ordering::Relaxed) >= 40);
}

#[tokio::test]
async fn that_nothing_is_to_be_done_is_decided_on_the_end_of_the_log() {
    let place = Place::new();
    let (one, _one) = start(place.log().await).await;
    let (two, _two) = start(place.log().await).await;
    put(&one, 1, "a").await;

    // The other one has not heard of it, and would find nothing to delete.
    let key = service(1, "a").key();
    let decide = move |config: &Config, _: &mut Fresh<'_>| {
        let there = config.find(key).map(|_| Change::Deleted(key));
        Ok((Vec::from_iter(there), ()))
    };
    let ((), head) = two.write(origin(), decide).await.unwrap();
    assert_eq!(head.seq, Seq(2));
    assert!(head.snapshot.config().is_empty());
}

#[tokio::test]
async fn a_rollback_brings_the_old_hash_back_as_one_more_event() {
    let place = Place::new();
    let (writer, _task) = start(place.log().await).await;
    let blue = put(&writer, 1, "blue").await;
    put(&writer, 1, "green").await;
    put(&writer, 2, "other").await;

    let back = writer.rollback(origin(), Moment::Seq(Seq(1))).await.unwrap();

    assert_eq!((back.seq, back.config_hash), (Seq(4), blue.config_hash));
    let rows = writer.history().log().read(Seq(3), 10).await.unwrap();
    let event = rows[0].event(&catalog()).unwrap();
    assert_eq!(event.origin.kind, EventKind::RolledBack);
    assert_eq!(event.changes.len(), 2);

    let prefix = blue.config_hash.to_hex()[..8].parse().unwrap();
    let again = writer.rollback(origin(), prefix).await.unwrap();
    assert_eq!(again.seq, Seq(4), "it is there already");
    let beyond = writer.rollback(origin(), Moment::Seq(Seq(5))).await;
    assert!(matches!(beyond, Err(RollbackError::Target(AtError::Beyond { .. }))));
    let empty = writer.rollback(origin(), Moment::Hash(Head::empty().config_hash.into())).await;
    assert!(empty.unwrap().snapshot.config().is_empty());
}

#[tokio::test]
async fn a_rollback_to_what_is_not_valid_any_more_is_rejected() {
    let place = Place::new();
    let (writer, _task) = start(place.log().await).await;
    let bad = json!({"id": Uuid::from_u128(1), "host": "a", "gone": true});
    let bad = Entity::new(service::KIND, bad.as_object().unwrap()).unwrap();
    writer.write(origin(), move |_, _| Ok((vec![upsert(&bad)], ()))).await.unwrap();
    put(&writer, 1, "a").await;
    let back = writer.rollback(origin(), Moment::Seq(Seq(1))).await;
    assert!(matches!(back, Err(RollbackError::Write(WriteError::Rejected(_)))), "{back:?}");
}

#[tokio::test]
async fn an_import_replaces_everything() {
    let place = Place::new();
    let (writer, _task) = start(place.log().await).await;
    put(&writer, 1, "a").await;
    let config = Config::of(&catalog(), [service(2, "b"), service(3, "c")]);
    let head = writer.import(origin(), config.clone()).await.unwrap();
    assert_eq!(head.snapshot.config(), &config);
    assert_eq!(head.seq, Seq(2));
}

#[tokio::test]
async fn a_panic_in_a_decision_is_the_callers_and_others_go_on() {
    let place = Place::new();
    let (writer, _task) = start(place.log().await).await;
    let bad = writer.clone();
    let panicking =
        tokio::spawn(async move { bad.write::<(), _>(origin(), |_, _| panic!("a bug")).await });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(put(&writer, 1, "a").await.seq, Seq(1));
}

#[tokio::test]
async fn waiting_writes_are_finished_at_the_end_and_later_ones_refused() {
    let place = Place::new();
    let (writer, task) = Writer::open(place.log().await, catalog(), Clock::System).await.unwrap();
    let waiting = tokio::spawn({
        let writer = writer.clone();
        async move { put(&writer, 1, "a").await.seq }
    });
    tokio::task::yield_now().await;
    task.run(std::future::ready(())).await;
    assert_eq!(waiting.await.unwrap(), Seq(1));
    let late = writer.write(origin(), |_, _| Ok((Vec::new(), ()))).await;
    assert!(matches!(late, Err(WriteError::ShuttingDown)));
}

#[tokio::test]
async fn a_failed_append_is_reported_and_the_next_one_succeeds() {
    let place = Place::new();
    let log = place.log().await;
    let (writer, _task) = start(log.clone()).await;
    put(&writer, 1, "a").await;

    // As when the disk refuses: every insert fails from here on.
    log.execute(
        "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'full'); END",
    )
    .await;
    let entity = service(2, "b");
    let write = writer.write(origin(), move |_, _| Ok((vec![upsert(&entity)], ()))).await;
    let Err(WriteError::Unavailable(error)) = write else { panic!("{write:?}") };
    assert!(matches!(*error, AppendError::Storage(StorageError::Database(_))));
    assert_eq!(writer.head().seq, Seq(1), "reads go on");

    log.execute("DROP TRIGGER full").await;
    assert_eq!(put(&writer, 2, "b").await.seq, Seq(2));
}

#[tokio::test]
async fn a_start_takes_the_stored_snapshot_and_survives_a_damaged_one() {
    let place = Place::new();
    let log = place.log().await;
    let (writer, _task) = start(log.clone()).await;
    let mut projector = Projector::new(log.clone(), writer.subscribe());
    for id in 0..3 {
        put(&writer, id, "a").await;
        projector.store().await.unwrap();
    }
    put(&writer, 9, "tail").await;
    let stored = log.newest_snapshot(Seq(u64::MAX)).await.unwrap().unwrap();
    assert_eq!(stored.seq, Seq(3));

    // The rows before the snapshot are not needed any more: the start did not replay them.
    let head = Writer::open(log.clone(), catalog(), Clock::System).await.unwrap().0.head();
    assert_eq!((head.seq, head.config_hash), (Seq(4), writer.head().config_hash));
    log.execute("UPDATE events SET changes = 'x' WHERE seq = 1").await;
    let head = Writer::open(log.clone(), catalog(), Clock::System).await.unwrap().0.head();
    assert_eq!(head.config_hash, writer.head().config_hash);

    // The newest snapshot damaged: the one before it and a longer tail.
    let root = writer.history().at(Moment::Seq(Seq(3))).await.unwrap().config_hash;
    log.execute(&format!("UPDATE nodes SET bytes = x'00' WHERE hash = x'{root}'")).await;
    let head = Writer::open(log.clone(), catalog(), Clock::System).await.unwrap().0.head();
    assert_eq!(head.config_hash, writer.head().config_hash);

    // All damaged: nothing but the log, and that was tampered with.
    log.execute("DELETE FROM nodes").await;
    let opened = Writer::open(log.clone(), catalog(), Clock::System).await;
    assert!(matches!(opened, Err(ReplayError::Row(_))));
}

#[tokio::test]
async fn the_past_is_found_by_position_hash_and_time() {
    let place = Place::new();
    let start_at = DateTime::from_timestamp(1_000_000, 0).unwrap();
    let clock = Clock::seeded(start_at, 1);
    let (writer, task) = Writer::open(place.log().await, catalog(), clock.clone()).await.unwrap();
    let _task = tokio::spawn(task.run(std::future::pending()));
    let mut heads = vec![Arc::new(Head::empty())];
    for id in 1..5 {
        clock.advance(1000);
        heads.push(put(&writer, id, "a").await);
    }
    for head in &heads {
        let history = writer.history();
        for moment in [Moment::Seq(head.seq), Moment::Hash(head.config_hash.into())] {
            let found = history.at(moment).await.unwrap();
            assert_eq!((found.seq, found.config_hash), (head.seq, head.config_hash));
        }
        let at = start_at + chrono::TimeDelta::milliseconds(head.seq.0 as i64 * 1000 + 999);
        assert_eq!(history.resolve(Moment::Time(at)).await.unwrap(), head.seq);
    }
    let unknown = "0123456789abcdef".parse().unwrap();
    assert!(matches!(writer.history().at(unknown).await, Err(AtError::Unknown(_))));
}

#[tokio::test]
async fn a_log_that_records_another_config_is_not_followed() {
    let place = Place::new();
    let log = place.log().await;
    let row = Row::seal(
        Tip::START,
        DateTime::UNIX_EPOCH,
        &origin(),
        &[upsert(&service(1, "a"))],
        ConfigHash([7; 32]),
    );
    log.append(Tip::START, &[row]).await.unwrap();
    let opened = Writer::open(log, catalog(), Clock::System).await;
    assert!(matches!(opened, Err(ReplayError::Mismatch { seq: Seq(1), .. })));
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Replay from the log is the fold of the changes, at every position.
        #[test]
        fn replay_is_the_fold(history in prop::collection::vec((0_u128..6, 0_u8..4), 1..12)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let place = Place::new();
                let (writer, _task) = start(place.log().await).await;
                let mut folded = Config::default();
                let mut configs = vec![folded.clone()];
                for (id, host) in history {
                    let key = Key { kind: service::KIND, id: Uuid::from_u128(id) };
                    let change = match host {
                        0 => Change::Deleted(key),
                        host => upsert(&service(id, &format!("h{host}"))),
                    };
                    folded.apply(&catalog(), &change);
                    let decide = move |_: &Config, _: &mut Fresh<'_>| Ok((vec![change.clone()], ()));
                    let head = writer.write(origin(), decide).await.unwrap().1;
                    configs.truncate(head.seq.0 as usize);
                    configs.push(folded.clone());
                }
                for (seq, config) in configs.iter().enumerate() {
                    let at = writer.history().at(Moment::Seq(Seq(seq as u64))).await.unwrap();
                    assert_eq!(at.snapshot.config(), config);
                }
            });
        }
    }
}

/// What a tamperer does to the second of three rows, and what the audit says.
#[tokio::test]
async fn the_audit_names_the_row_that_was_tampered_with_whatever_the_column() {
    let cases = [
        ("format = 9", "event 2 was changed"),
        ("at = at + 1", "event 2 was changed"),
        ("actor = 'eve'", "event 2 was changed"),
        ("request_id = 'r2'", "event 2 was changed"),
        ("source = 'cli'", "event 2 was changed"),
        ("kind = 'imported'", "event 2 was changed"),
        ("reason = ''", "event 2 was changed"),
        ("changes = replace(changes, 'h2', 'h9')", "event 2 was changed"),
        ("config_hash = zeroblob(32)", "event 2 was changed"),
        ("prev_hash = zeroblob(32)", "event 2 does not follow event 1"),
        ("hash = zeroblob(32)", "event 2 was changed"),
        ("seq = 7", "event 2 is missing"),
        ("hash = 'short'", "event log cannot be read"),
    ];
    for (tampering, expected) in cases {
        let place = Place::new();
        let log = place.log().await;
        let (writer, _task) = start(log.clone()).await;
        for id in 1..=3 {
            put(&writer, id, &format!("h{id}")).await;
        }
        let end = audit::verify(writer.history()).await.unwrap();
        assert_eq!(end.tip(), writer.head().tip());
        log.execute(&format!("UPDATE events SET {tampering} WHERE seq = 2")).await;
        let error = audit::verify(writer.history()).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{tampering}: {error}");
    }
}

#[tokio::test]
async fn the_audit_finds_a_row_that_was_changed_and_hashed_anew() {
    let place = Place::new();
    let log = place.log().await;
    let (writer, _task) = start(log.clone()).await;
    put(&writer, 1, "a").await;
    let mut row = log.read(Seq(0), 1).await.unwrap().remove(0);
    row.changes = row.changes.replace("\"a\"", "\"b\"");
    row.hash = row.digest();
    log.execute(&format!("UPDATE events SET changes = '{}', hash = x'{}'", row.changes, row.hash))
        .await;
    let error = audit::verify(writer.history()).await;
    assert!(matches!(error, Err(AuditError::Config { seq: Seq(1), .. })), "{error:?}");
}
