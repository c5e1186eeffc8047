//! What is done after a failure, before the log is believed again.

use chrono::DateTime;

use super::event_log::insert;
use super::{SqlDatabase, Statement};
use crate::domain::event::{EventKind, Origin};
use crate::domain::hash::ConfigHash;
use crate::log::Tip;
use crate::log::row::Row;

/// How much is written to learn whether there is room: more than one event mostly is, so that a
/// disk which is all but full is not taken for one that has recovered.
const ROOM_BYTES: usize = 64 * 1024;

/// Tries an append that cannot succeed: a row twice, which the primary key refuses after all else
/// was in order. An append that was given up, and still goes on in the server, is waited for.
pub(super) async fn appends<D: SqlDatabase>(database: &D, tip: Tip) -> Result<(), sqlx::Error> {
    let origin = Origin {
        actor: String::new(),
        request_id: String::new(),
        source: String::new(),
        kind: EventKind::Written,
        reason: None,
    };
    let row = Row::seal(tip, DateTime::UNIX_EPOCH, &origin, &[], ConfigHash([0; 32]));
    let rows = [row.clone(), row];
    match database.transact(vec![insert(&tip.hash, &rows)]).await {
        // The log ends elsewhere: whoever asks finds out when it reads on.
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes something of no meaning, durably, and takes it away again.
pub(super) async fn writes<D: SqlDatabase>(database: &D) -> Result<(), sqlx::Error> {
    let room = vec![0; ROOM_BYTES];
    for value in [room.as_slice(), b""] {
        let write = Statement::new(
            "INSERT INTO meta (name, value) VALUES ('room', $1) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        );
        database.transact(vec![write.bytes(value)]).await?;
    }
    Ok(())
}
