//! Reads rows of the tables; what is not as this program writes it is named by table, row, column.

use bytes::Bytes;
use chrono::DateTime;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, EventHash, NodeHash};
use crate::log::row::Row;
use crate::log::{DataPlaneRow, Meta, StorageError, StoredSnapshot, Tip};

/// SQLite has no unsigned integers; seqs do not come near the end of the signed ones.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn seq(table: &'static str, row: &SqliteRow) -> Result<Seq, StorageError> {
    unsigned(table, row, "?", "seq").map(Seq)
}

pub(super) fn tip(row: &SqliteRow) -> Result<Tip, StorageError> {
    let seq = seq("events", row)?;
    let hash = hash("events", row, &seq.to_string(), "hash").map(EventHash)?;
    Ok(Tip { seq, hash })
}

pub(super) fn event(row: &SqliteRow) -> Result<Row, StorageError> {
    let seq = seq("events", row)?;
    let name = seq.to_string();
    let text = |column| value::<String>("events", row, &name, column);
    let hash = |column| hash("events", row, &name, column);
    Ok(Row {
        format: unsigned("events", row, &name, "format")?,
        seq,
        at: value("events", row, &name, "at")?,
        actor: text("actor")?,
        request_id: text("request_id")?,
        source: text("source")?,
        kind: text("kind")?,
        reason: value("events", row, &name, "reason")?,
        changes: text("changes")?,
        config_hash: ConfigHash(hash("config_hash")?),
        prev_hash: EventHash(hash("prev_hash")?),
        hash: EventHash(hash("hash")?),
    })
}

pub(super) fn snapshot(
    table: &'static str,
    row: &SqliteRow,
) -> Result<StoredSnapshot, StorageError> {
    let seq = seq(table, row)?;
    let config_hash = hash(table, row, &seq.to_string(), "config_hash").map(ConfigHash)?;
    Ok(StoredSnapshot { seq, config_hash })
}

pub(super) fn node(row: &SqliteRow) -> Result<(NodeHash, Bytes), StorageError> {
    let hash = hash("nodes", row, "?", "hash").map(NodeHash)?;
    let bytes: Vec<u8> = value("nodes", row, &hash.to_string(), "bytes")?;
    Ok((hash, bytes.into()))
}

pub(super) fn node_hash(row: &SqliteRow) -> Result<NodeHash, StorageError> {
    hash("nodes", row, "?", "hash").map(NodeHash)
}

pub(super) fn meta(found: Vec<(String, Vec<u8>)>) -> Result<Meta, StorageError> {
    let damaged = |row: &str| damaged("meta", row, "value");
    let find = |name: &str| {
        let value = found.iter().find(|(other, _)| other == name);
        value.map(|(_, value)| value.clone()).ok_or_else(|| damaged(name))
    };
    let cluster_id = Uuid::from_slice(&find("cluster_id")?).map_err(|_| damaged("cluster_id"))?;
    Ok(Meta { cluster_id, signing_key: find("signing_key")? })
}

pub(super) fn data_plane(
    (id, row, expires_at): (Vec<u8>, String, i64),
) -> Result<DataPlaneRow, StorageError> {
    let id = Uuid::from_slice(&id).map_err(|_| damaged("data_planes", "?", "id"))?;
    let expires_at = DateTime::from_timestamp_millis(expires_at)
        .ok_or_else(|| damaged("data_planes", &id.to_string(), "expires_at"))?;
    Ok(DataPlaneRow { id, row, expires_at })
}

pub(super) fn value<'r, T>(
    table: &'static str,
    row: &'r SqliteRow,
    name: &str,
    column: &'static str,
) -> Result<T, StorageError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|_| damaged(table, name, column))
}

fn unsigned(
    table: &'static str,
    row: &SqliteRow,
    name: &str,
    column: &'static str,
) -> Result<u64, StorageError> {
    let number: i64 = value(table, row, name, column)?;
    number.try_into().map_err(|_| damaged(table, name, column))
}

pub(super) fn hash(
    table: &'static str,
    row: &SqliteRow,
    name: &str,
    column: &'static str,
) -> Result<[u8; 32], StorageError> {
    let bytes: Vec<u8> = value(table, row, name, column)?;
    bytes.try_into().map_err(|_| damaged(table, name, column))
}

pub(super) fn damaged(table: &'static str, row: &str, column: &'static str) -> StorageError {
    StorageError::Damaged { table, row: row.to_owned(), column }
}
