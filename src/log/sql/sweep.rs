//! The statements that store snapshots and remove nodes, so that neither misses the other.
//!
//! Each begins by writing one row of `meta`, which makes them take turns on every database; what
//! they hang on is looked at in the statements that write.

use bytes::Bytes;

use super::Statement;
use crate::domain::event::Seq;
use crate::domain::hash::NodeHash;
use crate::log::StoredSnapshot;

/// Rows or nodes in one statement.
const BATCH_LEN: usize = 64;

/// Returns the statement after which nobody else stores or removes until the transaction ends. It
/// writes one row.
pub(super) fn turn() -> Statement<'static> {
    Statement::new(
        "INSERT INTO meta (name, value) VALUES ('snapshots', $1) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bytes(b"")
}

/// Goes on with the condition that a snapshot is stored; there is none without one.
fn if_stored<'a>(statement: Statement<'a>, base: Option<&'a StoredSnapshot>) -> Statement<'a> {
    let Some(base) = base else { return statement.then(" WHERE 1 = 1") };
    let statement = statement.then(" WHERE EXISTS (SELECT 1 FROM snapshots WHERE seq = ");
    let statement = statement.then_place().unsigned(base.seq.0).then(" AND config_hash = ");
    statement.then_place().bytes(&base.config_hash.0).then(")")
}

/// Returns the statements that store a snapshot and nodes, if `base` is stored.
pub(super) fn store<'a>(
    snapshot: &'a StoredSnapshot,
    base: Option<&'a StoredSnapshot>,
    nodes: &'a [(NodeHash, Bytes)],
) -> Vec<Statement<'a>> {
    let insert = |batch: &'a [(NodeHash, Bytes)]| {
        let insert = Statement::new("INSERT INTO nodes (hash, bytes) SELECT * FROM (");
        let insert = insert.rows(batch, |values, (hash, bytes)| values.bytes(&hash.0).bytes(bytes));
        // A damaged node is mended by the next one that stores it.
        if_stored(insert.then(") AS fresh"), base).then(
            " ON CONFLICT (hash) DO UPDATE SET bytes = excluded.bytes \
             WHERE nodes.bytes <> excluded.bytes",
        )
    };
    let last = Statement::new("INSERT INTO snapshots (seq, config_hash) SELECT * FROM (");
    let last = last.rows(std::slice::from_ref(snapshot), |values, snapshot| {
        values.unsigned(snapshot.seq.0).bytes(&snapshot.config_hash.0)
    });
    let last = if_stored(last.then(") AS fresh"), base)
        .then(" ON CONFLICT (seq) DO UPDATE SET config_hash = excluded.config_hash");
    std::iter::once(turn()).chain(nodes.chunks(BATCH_LEN).map(insert)).chain([last]).collect()
}

/// Returns the statements that forget that a snapshot is stored.
pub(super) fn forget(seq: Seq) -> Vec<Statement<'static>> {
    let delete = Statement::new("DELETE FROM snapshots WHERE seq = $1").unsigned(seq.0);
    vec![turn(), delete]
}

/// Returns the statements that remove nodes if exactly these snapshots are stored. They write one
/// row if others are, and more if not.
pub(super) fn remove<'a>(stored: &[StoredSnapshot], nodes: &'a [NodeHash]) -> Vec<Statement<'a>> {
    // A position has one config, so positions say which snapshots.
    let seqs: Vec<_> = stored.iter().map(|snapshot| snapshot.seq.to_string()).collect();
    let count = stored.len();
    let same = match seqs.is_empty() {
        true => "NOT EXISTS (SELECT 1 FROM snapshots)".to_owned(),
        false => format!(
            "(SELECT COUNT(*) FROM snapshots) = {count} AND \
             (SELECT COUNT(*) FROM snapshots WHERE seq IN ({})) = {count}",
            seqs.join(", ")
        ),
    };
    let holds = Statement::new("UPDATE meta SET value = value WHERE name = 'snapshots' AND ");
    let delete = |batch: &'a [NodeHash]| {
        let mut delete = Statement::new("DELETE FROM nodes WHERE hash IN (");
        for (index, hash) in batch.iter().enumerate() {
            delete = delete.then(if index == 0 { "" } else { ", " }).then_place().bytes(&hash.0);
        }
        delete.then(") AND ").then(&same)
    };
    let deletes = nodes.chunks(BATCH_LEN).map(delete);
    [turn(), holds.then(&same)].into_iter().chain(deletes).collect()
}
