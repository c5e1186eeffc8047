//! What every database does with the fleet: rows are shared, ordered by revision, and expire.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hybridctl::log::fleet::{ControlPlaneRow, DataPlaneNews, DataPlaneRow, FleetStore};
use hybridctl::log::memory::MemoryLog;
use hybridctl::log::sqlite::SqliteLog;
use uuid::Uuid;

use crate::harness::Directory;
use crate::postgres::Schema;

/// Runs a case on each database, opened twice.
macro_rules! contract {
    ($($case:ident),*) => {$(
        mod $case {
            use super::*;

            #[tokio::test]
            async fn memory() {
                let log = Arc::new(MemoryLog::default());
                super::$case(&*log, &*log).await;
            }

            #[tokio::test]
            async fn sqlite() {
                let directory = Directory::new();
                let file = directory.path().join("log.db");
                let (one, other) =
                    (SqliteLog::open(&file).await.unwrap(), SqliteLog::open(&file).await.unwrap());
                super::$case(&one, &other).await;
            }

            #[tokio::test]
            async fn postgres() {
                let schema = Schema::new();
                let (one, other) = (schema.open().await, schema.open().await);
                super::$case(&*one, &*other).await;
            }
        }
    )*};
}

contract!(rows_are_replaced_by_who_heard_last, control_planes_come_and_go);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn control_plane(n: u128, beat: u64) -> ControlPlaneRow {
    let (id, node_id) = (Uuid::from_u128(n), Uuid::from_u128(n + 100));
    ControlPlaneRow { id, node_id, hostname: format!("cp{n}"), beat }
}

fn news(n: u128, row: &str, seconds: i64, spoke: bool) -> DataPlaneNews {
    DataPlaneNews { id: Uuid::from_u128(n), row: row.to_owned(), expires_at: at(seconds), spoke }
}

/// Returns id, row, end in seconds, control plane and revision.
fn told(row: DataPlaneRow) -> (u128, String, i64, u128, u64) {
    let by = row.heard_by.unwrap().as_u128();
    (row.id.as_u128(), row.row, row.expires_at.timestamp(), by, row.revision)
}

async fn after(
    store: &dyn FleetStore,
    revision: Option<u64>,
) -> Vec<(u128, String, i64, u128, u64)> {
    store.data_planes(revision).await.unwrap().into_iter().map(told).collect()
}

async fn rows_are_replaced_by_who_heard_last(one: &dyn FleetStore, other: &dyn FleetStore) {
    let (first, second) = (control_plane(1, 1), control_plane(2, 1));
    let row = |n, text: &str, seconds, by, revision| (n, text.to_owned(), seconds, by, revision);
    // More rows than a statement takes.
    let many: Vec<_> = (10..210).map(|n| news(n, "{}", 99, true)).collect();
    one.share(&first, &many).await.unwrap();
    assert_eq!(after(other, None).await.len(), 200);
    let seen = after(other, None).await.last().unwrap().4;

    one.share(&first, &[news(1, "a", 10, true), news(2, "b", 30, false)]).await.unwrap();
    let stored = [row(1, "a", 10, 1, seen + 1), row(2, "b", 30, 1, seen + 1)];
    assert_eq!(after(other, Some(seen)).await, stored);

    // Silence counts in the own row alone, a word in every one.
    let silent = [news(1, "x", 50, false), news(2, "c", 40, true)];
    other.share(&second, &silent).await.unwrap();
    assert_eq!(after(one, Some(seen + 1)).await, [row(2, "c", 40, 2, seen + 2)]);
    one.share(&first, &[news(1, "d", 20, false), news(2, "x", 50, false)]).await.unwrap();
    assert_eq!(after(one, Some(seen + 2)).await, [row(1, "d", 20, 1, seen + 3)]);

    assert_eq!(other.purge_data_planes(at(19)).await.unwrap(), 0);
    assert_eq!(other.purge_data_planes(at(20)).await.unwrap(), 1);
    assert_eq!(after(one, Some(seen)).await, [row(2, "c", 40, 2, seen + 2)]);
    // What was removed last does not bring a revision back.
    assert_eq!(other.purge_data_planes(at(100)).await.unwrap(), 201);
    one.share(&first, &[news(3, "e", 200, true)]).await.unwrap();
    assert!(after(other, Some(seen + 3)).await.len() == 1);
}

async fn control_planes_come_and_go(one: &dyn FleetStore, other: &dyn FleetStore) {
    one.share(&control_plane(1, 1), &[]).await.unwrap();
    other.share(&control_plane(2, 1), &[]).await.unwrap();
    one.share(&control_plane(1, 2), &[]).await.unwrap();
    let both = [control_plane(1, 2), control_plane(2, 1)];
    assert_eq!(other.control_planes().await.unwrap(), both);
    other.forget_control_plane(&control_plane(1, 1)).await.unwrap();
    assert_eq!(one.control_planes().await.unwrap(), both, "it has beaten since");
    other.forget_control_plane(&control_plane(1, 2)).await.unwrap();
    assert_eq!(one.control_planes().await.unwrap(), [control_plane(2, 1)]);
}
