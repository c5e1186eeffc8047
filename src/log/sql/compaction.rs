//! The statements that move the beginning of the log.
//!
//! Those that write take the same turns as those that store snapshots, so that a snapshot is never
//! stored between the look at its event and the event's end.

use super::Statement;
use super::sweep::turn;
use crate::domain::event::Seq;
use crate::log::checkpoint::Checkpoint;

/// Returns the query for what is left of an event.
pub(super) fn trace(seq: Seq) -> Statement<'static> {
    let text = "SELECT seq, at, hash, config_hash FROM events WHERE seq = $1 \
                UNION ALL SELECT seq, at, event_hash AS hash, config_hash FROM snapshots \
                WHERE seq = $1 AND event_hash IS NOT NULL LIMIT 1";
    Statement::new(text).unsigned(seq.0)
}

/// Returns the query for all checkpoints, oldest first.
pub(super) fn checkpoints() -> Statement<'static> {
    Statement::new(
        "SELECT first, seq, at, hash, config_hash, archive, made_at, actor FROM checkpoints \
         ORDER BY seq",
    )
}

/// Returns the query for the oldest event that is not after a position.
pub(super) fn oldest(until: Seq) -> Statement<'static> {
    let text = "SELECT seq FROM events WHERE seq <= $1 ORDER BY seq LIMIT 1";
    Statement::new(text).unsigned(until.0)
}

/// Returns the statements that record checkpoints, of which `last` is the last one, if they belong
/// there. They write two rows more than there are checkpoints, or else fewer.
pub(super) fn record<'a>(
    checkpoints: &'a [Checkpoint],
    last: &'a Checkpoint,
) -> Vec<Statement<'a>> {
    let end = &last.end;
    let before = checkpoints.first().map_or(0, |first| first.first.0.saturating_sub(1));
    let insert = Statement::new(
        "INSERT INTO checkpoints (first, seq, at, hash, config_hash, archive, made_at, actor) \
         SELECT * FROM (",
    );
    let insert = insert.rows(checkpoints, |values, checkpoint| {
        values
            .unsigned(checkpoint.first.0)
            .unsigned(checkpoint.end.seq.0)
            .integer(checkpoint.end.at)
            .bytes(&checkpoint.end.hash.0)
            .bytes(&checkpoint.end.config_hash.0)
            .text(checkpoint.archive.as_str())
            .integer(checkpoint.made_at.timestamp_millis())
            .text(checkpoint.actor.as_str())
    });
    let insert = insert.then(") AS fresh WHERE COALESCE((SELECT MAX(seq) FROM checkpoints), 0) = ");
    let insert = insert.then_place().unsigned(before);
    let insert = insert.then(" AND EXISTS (SELECT 1 FROM snapshots WHERE seq = ").then_place();
    let insert = insert.unsigned(end.seq.0).then(" AND config_hash = ").then_place();
    let insert = insert.bytes(&end.config_hash.0).then(
        ") AND (NOT EXISTS (SELECT 1 FROM events) \
         OR EXISTS (SELECT 1 FROM events WHERE seq = ",
    );
    let insert = insert.then_place().unsigned(end.seq.0).then(" AND hash = ").then_place();
    let insert = insert.bytes(&end.hash.0).then("))");
    let keep = Statement::new(
        "UPDATE snapshots SET at = $1, event_hash = $2 WHERE seq = $3 \
         AND EXISTS (SELECT 1 FROM checkpoints WHERE seq = $3 AND hash = $2)",
    );
    let keep = keep.integer(end.at).bytes(&end.hash.0).unsigned(end.seq.0);
    vec![turn(), insert, keep]
}

/// Returns the statements that remove events up to a position that is not after the newest
/// checkpoint.
pub(super) fn remove(last: Seq) -> Vec<Statement<'static>> {
    let keep = Statement::new(
        "UPDATE snapshots SET \
         at = (SELECT events.at FROM events WHERE events.seq = snapshots.seq), \
         event_hash = (SELECT events.hash FROM events WHERE events.seq = snapshots.seq) \
         WHERE seq <= $1 AND event_hash IS NULL AND EXISTS (SELECT 1 FROM events \
         WHERE events.seq = snapshots.seq AND events.config_hash = snapshots.config_hash)",
    );
    let delete = Statement::new(
        "DELETE FROM events WHERE seq <= $1 AND seq <= (SELECT MAX(seq) FROM checkpoints)",
    );
    vec![turn(), keep.unsigned(last.0), delete.unsigned(last.0)]
}
