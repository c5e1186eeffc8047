//! What every backend of the event log must do: the same cases on each of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use hybridctl::clock::Clock;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::entity::{Entity, Key};
use hybridctl::domain::event::{Change, EventKind, Origin, Seq};
use hybridctl::domain::hash::{ConfigHash, NodeHash};
use hybridctl::domain::kinds::{route, service};
use hybridctl::domain::role::AdminRole;
use hybridctl::log::memory::MemoryLog;
use hybridctl::log::promotions::PromotionRow;
use hybridctl::log::row::Row;
use hybridctl::log::sqlite::SqliteLog;
use hybridctl::log::tokens::{CreateTokenError, Token, TokenStore, Wanted};
use hybridctl::log::transfer;
use hybridctl::log::{AppendError, EventLog, LogDatabase, Meta, StoredSnapshot, Tip};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::checkpoint_contract::{
    an_empty_log_begins_after_a_checkpoint,
    of_two_checkpoints_after_the_same_event_one_is_recorded,
    the_oldest_rows_go_once_a_checkpoint_stands_for_them,
};
use crate::postgres::Schema;

/// A database for one test; opening it again shows what is durable.
struct SqlitePlace(PathBuf);

impl SqlitePlace {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("hybridctl-{}", Clock::System.id()));
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    async fn open(&self) -> Arc<dyn LogDatabase> {
        Arc::new(SqliteLog::open(&self.0.join("log.db")).await.unwrap())
    }
}

impl Drop for SqlitePlace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A log in memory for one test.
struct MemoryPlace(Arc<MemoryLog>);

impl MemoryPlace {
    fn new() -> Self {
        Self(Arc::default())
    }

    async fn open(&self) -> Arc<dyn EventLog> {
        self.0.clone()
    }
}

/// Makes a test of each case for each backend.
macro_rules! contract {
    ([$($backend:ident $place:ident),*], $cases:tt) => {
        $(contract!(@one $backend $place $cases);)*
    };
    (@one $backend:ident $place:ident [$($case:ident),* $(,)?]) => {
        mod $backend {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                let place = <$place>::new();
                super::$case(place.open().await, place.open().await).await;
            })*
        }
    };
}

contract!(
    [memory MemoryPlace, sqlite SqlitePlace, postgres Schema],
    [
        rows_come_back_as_they_were_appended,
        an_append_elsewhere_than_at_the_end_is_a_conflict,
        of_two_writers_at_once_one_wins,
        many_rows_are_appended_all_or_none,
        who_waits_hears_of_what_another_appends,
        moments_are_found,
        nodes_and_snapshots_are_stored,
        nodes_are_removed_unless_a_snapshot_came,
        meta_is_made_once,
        a_log_comes_from_a_file_and_goes_to_one,
        the_oldest_rows_go_once_a_checkpoint_stands_for_them,
        of_two_checkpoints_after_the_same_event_one_is_recorded,
        an_empty_log_begins_after_a_checkpoint,
    ]
);

contract!([sqlite_space SqlitePlace, postgres_space Schema], [space_is_given_back]);

contract!(
    [sqlite_tokens SqlitePlace, postgres_tokens Schema],
    [tokens_are_shared_and_revoked_for_good, of_tokens_in_use_one_has_a_name]
);

contract!(
    [sqlite_promotions SqlitePlace, postgres_promotions Schema],
    [of_two_decisions_with_one_number_the_first_stays]
);

async fn of_two_decisions_with_one_number_the_first_stays(
    one: Arc<dyn LogDatabase>,
    other: Arc<dyn LogDatabase>,
) {
    let row = |id, decision: &str| PromotionRow {
        id,
        at: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
        actor: "ann".into(),
        source: "cli".into(),
        reason: (id == 2).then(|| "because".into()),
        decision: decision.into(),
    };
    assert!(one.promotions(0).await.unwrap().is_empty());
    assert!(one.record_promotion(&row(1, "{\"a\":1}")).await.unwrap());
    assert!(!other.record_promotion(&row(1, "{}")).await.unwrap(), "taken");
    assert!(other.record_promotion(&row(2, "{}")).await.unwrap());
    let all = [row(1, "{\"a\":1}"), row(2, "{}")];
    assert_eq!(one.promotions(0).await.unwrap(), all);
    assert_eq!(other.promotions(1).await.unwrap(), all[1..]);
    assert!(one.promotions(2).await.unwrap().is_empty());
}

/// Makes `count` rows after `tip`; each names a config hash of its own.
pub(crate) fn rows(mut tip: Tip, count: u64) -> Vec<Row> {
    let make = |_| {
        let seq = tip.seq.next().0;
        let document = json!({"id": Uuid::from_u128(seq.into()), "host": "é\n\"'"});
        let entity = Entity::new(service::KIND, document.as_object().unwrap()).unwrap();
        let gone = Key { kind: route::KIND, id: Uuid::from_u128(7) };
        let origin = Origin {
            actor: "ann".into(),
            request_id: format!("r{seq}"),
            source: "admin-api".into(),
            kind: EventKind::Written,
            reason: seq.is_multiple_of(2).then(|| "because".into()),
        };
        let at = DateTime::from_timestamp_micros(seq as i64 * 1_000_000 + 1).unwrap();
        let changes = [Change::Upserted(entity), Change::Deleted(gone)];
        let row = Row::seal(tip, at, &origin, &changes, ConfigHash([seq as u8; 32]));
        tip = row.tip();
        row
    };
    (0..count).map(make).collect()
}

async fn rows_come_back_as_they_were_appended(log: Arc<dyn EventLog>, other: Arc<dyn EventLog>) {
    assert_eq!(log.tip().await.unwrap(), Tip::START);
    let rows = rows(Tip::START, 150);
    log.append(Tip::START, &rows).await.unwrap();
    assert_eq!(other.tip().await.unwrap(), rows[149].tip());
    assert_eq!(other.read(Seq(0), 1000).await.unwrap(), rows);
    assert_eq!(other.read(Seq(10), 2).await.unwrap(), rows[10..12]);
    assert!(other.read(Seq(150), 2).await.unwrap().is_empty());
    other.changed(Seq(0)).await.unwrap();
}

async fn an_append_elsewhere_than_at_the_end_is_a_conflict(
    log: Arc<dyn EventLog>,
    other: Arc<dyn EventLog>,
) {
    let rows = rows(Tip::START, 3);
    log.append(Tip::START, &rows[..2]).await.unwrap();
    for (expected, late) in [(Tip::START, &rows[..1]), (rows[2].tip(), &rows[2..])] {
        let refused = other.append(expected, late).await;
        let Err(AppendError::Conflict { actual, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(actual, Seq(2));
    }
    other.append(rows[1].tip(), &rows[2..]).await.unwrap();
    assert_eq!(log.read(Seq(0), 10).await.unwrap(), rows);
}

async fn of_two_writers_at_once_one_wins(log: Arc<dyn EventLog>, other: Arc<dyn EventLog>) {
    let mut tip = Tip::START;
    for _ in 0..20 {
        let next = rows(tip, 2);
        let (one, two) = tokio::join!(log.append(tip, &next), other.append(tip, &next));
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        let lost = if one.is_ok() { two } else { one };
        assert!(matches!(lost, Err(AppendError::Conflict { .. })), "{lost:?}");
        tip = next[1].tip();
        assert_eq!(log.tip().await.unwrap(), tip);
    }
}

async fn many_rows_are_appended_all_or_none(log: Arc<dyn EventLog>, other: Arc<dyn EventLog>) {
    let mut tip = Tip::START;
    for count in [64, 65, 300] {
        let next = rows(tip, count);
        let (one, two) = tokio::join!(log.append(tip, &next), other.append(tip, &next));
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        tip = next[next.len() - 1].tip();
        assert_eq!(other.tip().await.unwrap(), tip);
    }
    let late = log.append(Tip::START, &rows(Tip::START, 300)).await;
    assert!(matches!(late, Err(AppendError::Conflict { .. })), "{late:?}");
    assert_eq!(log.read(Seq(0), 1000).await.unwrap().len(), 64 + 65 + 300);
}

async fn who_waits_hears_of_what_another_appends(log: Arc<dyn EventLog>, other: Arc<dyn EventLog>) {
    let mut tip = Tip::START;
    for _ in 0..5 {
        let next = rows(tip, 1);
        let append = async {
            tokio::task::yield_now().await;
            other.append(tip, &next).await.unwrap();
        };
        // A hint may be early; a look at the log tells.
        let hear = async {
            while log.read(tip.seq, 1).await.unwrap().is_empty() {
                log.changed(tip.seq).await.unwrap();
            }
        };
        tokio::join!(hear, append);
        tip = next[0].tip();
    }
}

async fn moments_are_found(log: Arc<dyn EventLog>, other: Arc<dyn EventLog>) {
    log.append(Tip::START, &rows(Tip::START, 3)).await.unwrap();
    let at = |micros| DateTime::from_timestamp_micros(micros).unwrap();
    for (micros, seq) in [(0, 0), (1_000_000, 0), (1_000_001, 1), (2_999_999, 2), (9_000_000, 3)] {
        assert_eq!(other.find_time(at(micros)).await.unwrap(), Seq(seq));
    }
    let found = other.find_hash("02020202".parse().unwrap()).await.unwrap();
    assert_eq!(found, [StoredSnapshot { seq: Seq(2), config_hash: ConfigHash([2; 32]) }]);
    assert!(other.find_hash("02020203".parse().unwrap()).await.unwrap().is_empty());
}

async fn nodes_and_snapshots_are_stored(log: Arc<dyn EventLog>, other: Arc<dyn EventLog>) {
    let node = |n: u8| (NodeHash([n; 32]), Bytes::from(vec![n; 3]));
    let stored = |seq| StoredSnapshot { seq: Seq(seq), config_hash: ConfigHash([1; 32]) };
    assert_eq!(log.newest_snapshot(Seq(9)).await.unwrap(), None);
    assert!(log.store_snapshot(stored(3), None, (0..100).map(node).collect()).await.unwrap());
    // A config that is in force again: its nodes are there.
    assert!(log.store_snapshot(stored(5), Some(stored(3)), vec![node(1)]).await.unwrap());
    for (at, seq) in [(u64::MAX, 5), (5, 5), (4, 3)] {
        assert_eq!(other.newest_snapshot(Seq(at)).await.unwrap(), Some(stored(seq)));
    }
    let wanted: Vec<_> = (0..120).map(|n| node(n).0).collect();
    let mut found = other.load_nodes(&wanted).await.unwrap();
    found.sort_unstable();
    assert_eq!(found, (0..100).map(node).collect::<Vec<_>>());
    log.forget_snapshot(Seq(5)).await.unwrap();
    assert_eq!(other.newest_snapshot(Seq(9)).await.unwrap(), Some(stored(3)));
}

async fn nodes_are_removed_unless_a_snapshot_came(
    log: Arc<dyn EventLog>,
    other: Arc<dyn EventLog>,
) {
    let node = |n: u8| (NodeHash([n; 32]), Bytes::from(vec![n; 3]));
    let stored = |seq| StoredSnapshot { seq: Seq(seq), config_hash: ConfigHash([1; 32]) };
    log.store_snapshot(stored(3), None, (0..100).map(node).collect()).await.unwrap();
    log.store_snapshot(stored(5), Some(stored(3)), Vec::new()).await.unwrap();
    assert_eq!(other.stored_snapshots().await.unwrap(), [stored(3), stored(5)]);
    let hashes: Vec<_> = (0..100).map(|n| node(n).0).collect();
    assert_eq!(other.stored_nodes(None, 1000).await.unwrap(), hashes);
    assert_eq!(other.stored_nodes(Some(hashes[9]), 2).await.unwrap(), hashes[10..12]);

    log.forget_snapshot(Seq(3)).await.unwrap();
    // Whoever builds on what is gone learns of it, and nothing is stored.
    assert!(!other.store_snapshot(stored(7), Some(stored(3)), vec![node(200)]).await.unwrap());
    let elsewhere = StoredSnapshot { config_hash: ConfigHash([2; 32]), ..stored(5) };
    assert!(!other.store_snapshot(stored(7), Some(elsewhere), Vec::new()).await.unwrap());
    assert_eq!(other.stored_snapshots().await.unwrap(), [stored(5)]);
    assert!(other.load_nodes(&[node(200).0]).await.unwrap().is_empty());

    assert!(!log.remove_nodes(&[stored(3), stored(5)], &hashes).await.unwrap());
    assert_eq!(other.stored_nodes(None, 1000).await.unwrap().len(), 100);
    assert!(log.remove_nodes(&[stored(5)], &hashes[..90]).await.unwrap());
    assert_eq!(other.stored_nodes(None, 1000).await.unwrap(), hashes[90..]);
}

async fn meta_is_made_once(log: Arc<dyn EventLog>, other: Arc<dyn EventLog>) {
    let meta =
        |n: u8| Meta { cluster_id: Uuid::from_u128(n.into()), signing_key: vec![n; 32], epoch: 0 };
    assert_eq!(log.meta(meta(1)).await.unwrap(), meta(1));
    assert_eq!(other.meta(meta(2)).await.unwrap(), meta(1));
    for (raised, epoch) in [(3, 3), (2, 3), (1 << 40, 1 << 40)] {
        log.raise_epoch(raised).await.unwrap();
        assert_eq!(other.meta(meta(2)).await.unwrap(), Meta { epoch, ..meta(1) });
    }
    assert!(!format!("{:?}", meta(1)).contains("[1"), "the key is a secret");
}

/// Whichever database a log comes from, in another one it is the same.
async fn a_log_comes_from_a_file_and_goes_to_one(log: Arc<dyn EventLog>, other: Arc<dyn EventLog>) {
    let meta = Meta { cluster_id: Uuid::from_u128(1), signing_key: vec![7; 32], epoch: 2 };
    let source = MemoryLog::default();
    let rows = rows(Tip::START, 700);
    source.append(Tip::START, &rows).await.unwrap();
    let mut file = Vec::new();
    let header = transfer::Header::of(&source, meta.clone()).await.unwrap();
    transfer::export(&source, &header, &[], &mut file, |_| {}).await.unwrap();
    let reader = || transfer::Reader::new(file.as_slice()).unwrap();
    reader().check().unwrap();
    transfer::import(&*log, reader(), 3, |_| {}).await.unwrap();
    assert_eq!(other.read(Seq(0), 1000).await.unwrap(), rows);
    assert_eq!(other.tip().await.unwrap(), rows[699].tip());
    let stored = other.meta(Meta { cluster_id: Uuid::nil(), ..meta.clone() }).await.unwrap();
    assert_eq!(stored, Meta { epoch: 3, ..meta.clone() });
    let mut back = Vec::new();
    let header = transfer::Header::of(&*other, meta).await.unwrap();
    transfer::export(&*other, &header, &[], &mut back, |_| {}).await.unwrap();
    assert_eq!(back, file);
}

async fn space_is_given_back(log: Arc<dyn LogDatabase>, other: Arc<dyn LogDatabase>) {
    let rows = rows(Tip::START, 10);
    log.append(Tip::START, &rows).await.unwrap();
    other.vacuum().await.unwrap();
    assert_eq!(log.read(Seq(0), 100).await.unwrap(), rows);
    other.append(rows[9].tip(), &self::rows(rows[9].tip(), 1)).await.unwrap();
}

fn token(n: u128, name: &str, expires_at: Option<i64>) -> Token {
    let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
    let expires_at = expires_at.map(at);
    let wanted = Wanted { name: name.parse().unwrap(), role: AdminRole::Editor, expires_at };
    wanted.make(Uuid::from_u128(n), at(5), "ann".into()).unwrap().0
}

async fn tokens_are_shared_and_revoked_for_good(
    store: Arc<dyn TokenStore>,
    other: Arc<dyn TokenStore>,
) {
    let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
    let (ci, ops) = (token(2, "ci", Some(90)), token(1, "ops", None));
    assert_eq!(store.tokens_revision().await.unwrap(), 0);
    store.create_token(&ci).await.unwrap();
    other.create_token(&ops).await.unwrap();
    assert_eq!(other.tokens().await.unwrap(), [ops.clone(), ci.clone()]);
    let before = store.tokens_revision().await.unwrap();

    assert!(store.revoke_token(ci.id, at(7), "bob").await.unwrap());
    assert!(other.revoke_token(ci.id, at(8), "eve").await.unwrap(), "it is there, and stays so");
    assert!(!other.revoke_token(Uuid::from_u128(9), at(8), "eve").await.unwrap());
    let revoked = Token { revoked: Some((at(7), "bob".into())), ..ci };
    assert_eq!(other.tokens().await.unwrap(), [ops, revoked]);
    assert!(other.tokens_revision().await.unwrap() > before);
}

async fn of_tokens_in_use_one_has_a_name(store: Arc<dyn TokenStore>, other: Arc<dyn TokenStore>) {
    store.create_token(&token(1, "ci", None)).await.unwrap();
    let refused = other.create_token(&token(2, "ci", None)).await;
    assert!(matches!(refused, Err(CreateTokenError::NameTaken)), "{refused:?}");
    let now = DateTime::from_timestamp(7, 0).unwrap();
    store.revoke_token(Uuid::from_u128(1), now, "ann").await.unwrap();
    other.create_token(&token(2, "ci", None)).await.unwrap();
}

/// Yesterday's rows still read, and their hashes do not move. The file is never written again.
#[test]
fn rows_of_format_1_still_read() {
    let text = include_str!("../fixtures/events/v1.json");
    let stored: Vec<Value> = serde_json::from_str(text).unwrap();
    let catalog = Catalog::new(Vec::new());
    for (value, expected) in stored.iter().zip(rows(Tip::START, 3)) {
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        let row = Row {
            format: value["format"].as_u64().unwrap(),
            seq: Seq(value["seq"].as_u64().unwrap()),
            at: value["at"].as_i64().unwrap(),
            actor: text("actor"),
            request_id: text("request_id"),
            source: text("source"),
            kind: text("kind"),
            reason: value["reason"].as_str().map(str::to_owned),
            changes: text("changes"),
            config_hash: text("config_hash").parse().unwrap(),
            prev_hash: text("prev_hash").parse().unwrap(),
            hash: text("hash").parse().unwrap(),
        };
        assert_eq!(row.digest(), row.hash);
        let (event, expected) = (row.event(&catalog).unwrap(), expected.event(&catalog).unwrap());
        assert_eq!(event, expected);
    }
    assert_eq!(stored.len(), 3);
}
