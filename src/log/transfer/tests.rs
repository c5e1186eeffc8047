//! Logs that go through a file, whole, cut and changed.

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::event::{EventKind, Origin};
use crate::domain::hash::ConfigHash;
use crate::log::memory::MemoryLog;

fn meta() -> Meta {
    Meta { cluster_id: Uuid::from_u128(7), signing_key: vec![0, 17, 255], epoch: 3 }
}

/// Rows of any text and time; what they say is nobody's concern here.
fn rows(texts: &[(String, Option<String>, i64)]) -> Vec<Row> {
    let mut tip = Tip::START;
    let row = |(text, reason, at): &(String, Option<String>, i64)| {
        let origin = Origin {
            actor: text.clone(),
            request_id: text.chars().rev().collect(),
            source: "admin-api".into(),
            kind: EventKind::Written,
            reason: reason.clone(),
        };
        let mut row = Row::seal(tip, DateTime::UNIX_EPOCH, &origin, &[], ConfigHash([7; 32]));
        (row.at, row.changes) = (*at, format!("[{text}"));
        row.hash = row.digest();
        tip = row.tip();
        row
    };
    texts.iter().map(row).collect()
}

fn some_rows(count: usize) -> Vec<Row> {
    rows(&vec![("a".to_owned(), None, 1); count])
}

async fn exported(rows: &[Row]) -> String {
    let log = MemoryLog::default();
    log.append(Tip::START, rows).await.unwrap();
    let mut file = Vec::new();
    let header = Header::of(&log, meta()).await.unwrap();
    export(&log, &header, &[], &mut file, |_| {}).await.unwrap();
    String::from_utf8(file).unwrap()
}

async fn imported(log: &MemoryLog, text: &str) -> Result<Header, ImportError> {
    Reader::new(text.as_bytes())?.check()?;
    import(log, Reader::new(text.as_bytes())?, 4, |_| {}).await
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #[test]
    fn what_is_imported_is_what_was_exported(
        texts in proptest::collection::vec((".*", proptest::option::of(".*"), any::<i64>()), 0..8),
    ) {
        block_on(async {
            let rows = rows(&texts);
            let log = MemoryLog::default();
            let header = imported(&log, &exported(&rows).await).await.unwrap();
            assert_eq!(header.meta, meta());
            assert_eq!(log.read(Seq(0), 100).await.unwrap(), rows);
            assert_eq!(log.tip().await.unwrap(), header.tip);
            let again = log.meta(meta()).await.unwrap();
            assert_eq!(again, Meta { epoch: 4, ..meta() });
        });
    }
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_refused() {
    let text = exported(&some_rows(5)).await;
    let lines: Vec<_> = text.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let swapped = [lines[0], lines[2], lines[1], lines[3], lines[4], lines[5]];
    for (file, wrong) in [
        (joined(&lines[..4]), "it should end with event 5, and ends with 3"),
        (joined(&swapped), "event 2 was changed, or does not follow the event before it"),
        (text.replace("\"a\"", "\"b\""), "event 1 was changed"),
        (format!("{text}{}\n", lines[5]), "it should end with event 5, and ends with 5"),
        (format!("{}{{}}\n", joined(&lines[..2])), "line 3: this is no event"),
        (text.replace("\"format\":1,\"hash\":\"", "\"format\":9,\"hash\":\""), "it has format 9"),
        ("{}\n".to_owned(), "line 1: this is no export of a log"),
        (String::new(), "line 1: this is no export of a log"),
    ] {
        let log = MemoryLog::default();
        let refused = imported(&log, &file).await.unwrap_err().to_string();
        assert!(refused.contains(wrong), "{refused}: {wrong}");
        assert_eq!(log.tip().await.unwrap(), Tip::START);
    }
}

#[tokio::test]
async fn an_import_goes_on_where_it_was_cut_off_and_nowhere_else() {
    let rows = some_rows(1200);
    let text = exported(&rows).await;
    let log = MemoryLog::default();
    log.append(Tip::START, &rows[..700]).await.unwrap();
    imported(&log, &text).await.unwrap();
    assert_eq!(log.read(Seq(0), 2000).await.unwrap(), rows);
    assert!(imported(&log, &text).await.is_ok(), "nothing is left to do");

    let other = MemoryLog::default();
    other.append(Tip::START, &super::tests::rows(&[("b".to_owned(), None, 1)])).await.unwrap();
    let refused = imported(&other, &text).await;
    assert!(matches!(refused, Err(ImportError::NotEmpty(Seq(1)))), "{refused:?}");
    assert!(matches!(
        imported(&log, &exported(&rows[..9]).await).await,
        Err(ImportError::NotEmpty(_))
    ));

    let foreign = MemoryLog::default();
    foreign.meta(Meta { cluster_id: Uuid::nil(), ..meta() }).await.unwrap();
    let refused = imported(&foreign, &text).await;
    assert!(matches!(refused, Err(ImportError::Foreign)), "{refused:?}");
    assert_eq!(foreign.tip().await.unwrap(), Tip::START);
}
