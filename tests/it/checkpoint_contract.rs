//! What every backend of the event log must do with checkpoints; `log_contract` runs the cases.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::sync::Arc;

use chrono::DateTime;
use hybridctl::domain::event::Seq;
use hybridctl::log::checkpoint::Checkpoint;
use hybridctl::log::row::Row;
use hybridctl::log::{AppendError, EventLog, StoredSnapshot, Tip};

use crate::log_contract::rows;

fn checkpoint(first: u64, last: &Row) -> Checkpoint {
    Checkpoint {
        first: Seq(first),
        end: last.trace(),
        archive: format!("log-{first}.jsonl.gz"),
        made_at: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
        actor: "ann".into(),
    }
}

/// Stores that the config of an event is stored; what its nodes are is nobody's concern here.
async fn store(log: &dyn EventLog, row: &Row) {
    let snapshot = StoredSnapshot { seq: row.seq, config_hash: row.config_hash };
    assert!(log.store_snapshot(snapshot, None, Vec::new()).await.unwrap());
}

pub(crate) async fn the_oldest_rows_go_once_a_checkpoint_stands_for_them(
    log: Arc<dyn EventLog>,
    other: Arc<dyn EventLog>,
) {
    let rows = rows(Tip::START, 10);
    log.append(Tip::START, &rows).await.unwrap();
    assert_eq!(log.remove_archived(100).await.unwrap(), None);
    for row in [&rows[2], &rows[5]] {
        store(&*log, row).await;
    }
    let of_another = Row { hash: rows[0].hash, ..rows[5].clone() };
    for (wrong, why) in [
        (checkpoint(2, &rows[5]), "it does not follow what is there"),
        (checkpoint(1, &rows[4]), "its config is not stored"),
        (checkpoint(1, &of_another), "its event is another one"),
    ] {
        assert!(!log.record_checkpoints(&[wrong]).await.unwrap(), "{why}");
    }
    assert!(log.record_checkpoints(&[checkpoint(1, &rows[5])]).await.unwrap());
    assert!(!other.record_checkpoints(&[checkpoint(1, &rows[5])]).await.unwrap(), "it is there");
    assert_eq!(other.checkpoints().await.unwrap(), [checkpoint(1, &rows[5])]);
    assert_eq!(other.read(Seq(0), 100).await.unwrap(), rows, "nothing has gone yet");

    assert_eq!(log.remove_archived(4).await.unwrap(), Some(Seq(4)));
    assert_eq!(other.read(Seq(0), 100).await.unwrap(), rows[4..]);
    for (row, is_known) in [(&rows[1], false), (&rows[2], true), (&rows[5], true)] {
        let trace = other.trace(row.seq).await.unwrap();
        assert_eq!(trace, is_known.then(|| row.trace()));
    }
    assert_eq!(other.remove_archived(4).await.unwrap(), Some(Seq(6)));
    assert_eq!(log.remove_archived(4).await.unwrap(), None);
    assert_eq!(other.read(Seq(0), 2).await.unwrap(), rows[6..8]);
    assert_eq!(other.trace(Seq(6)).await.unwrap(), Some(rows[5].trace()));
    assert_eq!(other.tip().await.unwrap(), rows[9].tip());

    let at = |micros| DateTime::from_timestamp_micros(micros).unwrap();
    for (micros, seq) in [(3_000_001, 0), (6_000_000, 0), (6_000_001, 6), (7_000_001, 7)] {
        assert_eq!(other.find_time(at(micros)).await.unwrap(), Seq(seq));
    }
    for (hash, seq) in [("02020202", None), ("03030303", Some(3)), ("07070707", Some(7))] {
        let found = other.find_hash(hash.parse().unwrap()).await.unwrap();
        assert_eq!(found.first().map(|found| found.seq.0), seq);
    }
    other.forget_snapshot(Seq(3)).await.unwrap();
    assert_eq!(log.trace(Seq(3)).await.unwrap(), None);
    let next = crate::log_contract::rows(rows[9].tip(), 1);
    other.append(rows[9].tip(), &next).await.unwrap();
    assert_eq!(log.tip().await.unwrap(), next[0].tip());
}

pub(crate) async fn of_two_checkpoints_after_the_same_event_one_is_recorded(
    log: Arc<dyn EventLog>,
    other: Arc<dyn EventLog>,
) {
    let rows = rows(Tip::START, 40);
    log.append(Tip::START, &rows).await.unwrap();
    let mut first = 1;
    for end in (5..40).step_by(5) {
        let (short, long) = (&rows[end - 2], &rows[end - 1]);
        store(&*log, short).await;
        store(&*log, long).await;
        let (short, long) = ([checkpoint(first, short)], [checkpoint(first, long)]);
        let (one, two) =
            tokio::join!(log.record_checkpoints(&short), other.record_checkpoints(&long));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one != two, "{first}: {one} {two}");
        let newest = log.checkpoints().await.unwrap().pop().unwrap();
        assert_eq!(newest, if one { short } else { long }[0]);
        first = newest.end.seq.0 + 1;
    }
}

pub(crate) async fn an_empty_log_begins_after_a_checkpoint(
    log: Arc<dyn EventLog>,
    other: Arc<dyn EventLog>,
) {
    let rows = rows(Tip::START, 80);
    store(&*log, &rows[5]).await;
    let two = [checkpoint(1, &rows[2]), checkpoint(4, &rows[5])];
    assert!(log.record_checkpoints(&two).await.unwrap());
    assert_eq!(other.checkpoints().await.unwrap(), two);
    assert_eq!(other.tip().await.unwrap(), rows[5].tip());
    assert_eq!(other.trace(Seq(6)).await.unwrap(), Some(rows[5].trace()));
    let early = other.append(Tip::START, &rows[..1]).await;
    assert!(matches!(early, Err(AppendError::Conflict { .. })), "{early:?}");
    other.append(rows[5].tip(), &rows[6..]).await.unwrap();
    assert_eq!(log.read(Seq(0), 100).await.unwrap(), rows[6..]);
}
