//! What is stored of snapshots, and its removal.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{BATCH_LEN, rows};
use crate::domain::hash::NodeHash;
use crate::log::{StorageError, StoredSnapshot};

/// Returns every stored snapshot, in order of position.
pub(super) async fn stored(
    connection: &mut SqliteConnection,
) -> Result<Vec<StoredSnapshot>, StorageError> {
    let query = sqlx::query("SELECT seq, config_hash FROM snapshots ORDER BY seq");
    let found = query.fetch_all(connection).await?;
    found.iter().map(|row| rows::snapshot("snapshots", row)).collect()
}

/// Returns whether a snapshot is stored.
pub(super) async fn is_stored(
    connection: &mut SqliteConnection,
    snapshot: StoredSnapshot,
) -> Result<bool, StorageError> {
    let query = sqlx::query("SELECT seq FROM snapshots WHERE seq = $1 AND config_hash = $2");
    let query = query.bind(rows::integer(snapshot.seq.0));
    let found = query.bind(snapshot.config_hash.0.to_vec()).fetch_optional(connection).await?;
    Ok(found.is_some())
}

/// Returns hashes of nodes after one, in order.
pub(super) async fn nodes(
    connection: &mut SqliteConnection,
    after: Option<NodeHash>,
    limit: u32,
) -> Result<Vec<NodeHash>, StorageError> {
    // No hash comes before the empty text.
    let after = after.map(|hash| hash.0.to_vec()).unwrap_or_default();
    let query = sqlx::query("SELECT hash FROM nodes WHERE hash > $1 ORDER BY hash LIMIT $2");
    let found = query.bind(after).bind(limit).fetch_all(connection).await?;
    found.iter().map(rows::node_hash).collect()
}

/// Removes nodes unless other snapshots than these are stored.
pub(super) async fn remove(
    connection: &mut SqliteConnection,
    expected: &[StoredSnapshot],
    nodes: &[NodeHash],
) -> Result<bool, StorageError> {
    if stored(connection).await? != expected {
        return Ok(false);
    }
    for batch in nodes.chunks(BATCH_LEN) {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM nodes WHERE hash IN (");
        let mut list = query.separated(", ");
        for hash in batch {
            list.push_bind(hash.0.as_slice());
        }
        query.push(")");
        query.build().execute(&mut *connection).await?;
    }
    Ok(true)
}
