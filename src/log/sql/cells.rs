//! Reads rows of the tables; what is not as this program writes it is named by table, row, column.

use bytes::Bytes;
use chrono::DateTime;
use sqlx::{ColumnIndex, Decode, Type};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, EventHash, NodeHash};
use crate::log::checkpoint::{Checkpoint, Trace};
use crate::log::row::Row;
use crate::log::{Meta, StorageError, StoredSnapshot, Tip};

/// A row of any database; a null is none.
pub trait Columns: Send + Sync {
    /// Reads a number.
    fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    /// Reads a text.
    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error>;
    /// Reads bytes.
    fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error>;
}

impl<R> Columns for R
where
    R: sqlx::Row,
    for<'c> &'c str: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }

    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
        self.try_get(column)
    }
}

/// The cells of one row, under the names that a message needs.
pub struct Cells<'a, R> {
    table: &'static str,
    key: String,
    row: &'a R,
}

impl<'a, R: Columns> Cells<'a, R> {
    /// Reads a row whose key is not known yet.
    pub fn new(table: &'static str, row: &'a R) -> Self {
        Self { table, key: "?".to_owned(), row }
    }

    /// Names the row.
    pub fn keyed(self, key: impl ToString) -> Self {
        Self { key: key.to_string(), ..self }
    }

    /// Reads the position that names the row.
    fn positioned(table: &'static str, row: &'a R) -> Result<(Seq, Self), StorageError> {
        let cells = Self::new(table, row);
        let seq = Seq(cells.unsigned("seq")?);
        Ok((seq, cells.keyed(seq)))
    }

    /// Returns the error of a column that holds something else.
    pub fn damaged(&self, column: &'static str) -> StorageError {
        damaged(self.table, &self.key, column)
    }

    /// Reads a number, or none.
    pub fn optional_integer(&self, column: &'static str) -> Result<Option<i64>, StorageError> {
        self.row.integer(column).map_err(|_| self.damaged(column))
    }

    /// Reads a number.
    pub fn integer(&self, column: &'static str) -> Result<i64, StorageError> {
        self.optional_integer(column)?.ok_or_else(|| self.damaged(column))
    }

    /// Reads a number that is not negative.
    pub fn unsigned(&self, column: &'static str) -> Result<u64, StorageError> {
        self.integer(column)?.try_into().map_err(|_| self.damaged(column))
    }

    /// Reads a text, or none.
    pub fn optional_text(&self, column: &'static str) -> Result<Option<String>, StorageError> {
        self.row.text(column).map_err(|_| self.damaged(column))
    }

    /// Reads a text.
    pub fn text(&self, column: &'static str) -> Result<String, StorageError> {
        self.optional_text(column)?.ok_or_else(|| self.damaged(column))
    }

    /// Reads bytes.
    pub fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StorageError> {
        self.row.bytes(column).ok().flatten().ok_or_else(|| self.damaged(column))
    }

    /// Reads an id, or none.
    pub fn optional_id(&self, column: &'static str) -> Result<Option<Uuid>, StorageError> {
        let bytes = self.row.bytes(column).map_err(|_| self.damaged(column))?;
        let id = bytes.map(|bytes| Uuid::from_slice(&bytes)).transpose();
        id.map_err(|_| self.damaged(column))
    }

    /// Reads a hash.
    pub fn hash(&self, column: &'static str) -> Result<[u8; 32], StorageError> {
        self.bytes(column)?.try_into().map_err(|_| self.damaged(column))
    }

    /// Reads an id.
    pub fn id(&self, column: &'static str) -> Result<Uuid, StorageError> {
        Uuid::from_slice(&self.bytes(column)?).map_err(|_| self.damaged(column))
    }
}

pub(super) fn seq(table: &'static str, row: &impl Columns) -> Result<Seq, StorageError> {
    Cells::positioned(table, row).map(|(seq, _)| seq)
}

pub(super) fn tip(row: &impl Columns) -> Result<Tip, StorageError> {
    let (seq, cells) = Cells::positioned("events", row)?;
    Ok(Tip { seq, hash: EventHash(cells.hash("hash")?) })
}

pub(super) fn event(row: &impl Columns) -> Result<Row, StorageError> {
    let (seq, cells) = Cells::positioned("events", row)?;
    Ok(Row {
        format: cells.unsigned("format")?,
        seq,
        at: cells.integer("at")?,
        actor: cells.text("actor")?,
        request_id: cells.text("request_id")?,
        source: cells.text("source")?,
        kind: cells.text("kind")?,
        reason: cells.optional_text("reason")?,
        changes: cells.text("changes")?,
        config_hash: ConfigHash(cells.hash("config_hash")?),
        prev_hash: EventHash(cells.hash("prev_hash")?),
        hash: EventHash(cells.hash("hash")?),
    })
}

pub(super) fn snapshot(
    table: &'static str,
    row: &impl Columns,
) -> Result<StoredSnapshot, StorageError> {
    let (seq, cells) = Cells::positioned(table, row)?;
    Ok(StoredSnapshot { seq, config_hash: ConfigHash(cells.hash("config_hash")?) })
}

pub(super) fn trace(table: &'static str, row: &impl Columns) -> Result<Trace, StorageError> {
    let (seq, cells) = Cells::positioned(table, row)?;
    Ok(Trace {
        seq,
        at: cells.integer("at")?,
        hash: EventHash(cells.hash("hash")?),
        config_hash: ConfigHash(cells.hash("config_hash")?),
    })
}

pub(super) fn checkpoint(row: &impl Columns) -> Result<Checkpoint, StorageError> {
    let end = trace("checkpoints", row)?;
    let cells = Cells::new("checkpoints", row).keyed(end.seq);
    let made_at = DateTime::from_timestamp_millis(cells.integer("made_at")?);
    Ok(Checkpoint {
        first: Seq(cells.unsigned("first")?),
        end,
        archive: cells.text("archive")?,
        made_at: made_at.ok_or_else(|| cells.damaged("made_at"))?,
        actor: cells.text("actor")?,
    })
}

pub(super) fn node(row: &impl Columns) -> Result<(NodeHash, Bytes), StorageError> {
    let cells = Cells::new("nodes", row);
    let hash = NodeHash(cells.hash("hash")?);
    Ok((hash, cells.keyed(hash).bytes("bytes")?.into()))
}

pub(super) fn meta(rows: &[impl Columns]) -> Result<Meta, StorageError> {
    let find = |name: &str| {
        let named =
            rows.iter().find(|row| row.text("name").is_ok_and(|it| it.as_deref() == Some(name)));
        let row = named.ok_or_else(|| damaged("meta", name, "value"))?;
        Ok::<_, StorageError>(Cells::new("meta", row).keyed(name))
    };
    let cluster_id = find("cluster_id")?.id("value")?;
    let epoch = find("epoch")?.bytes("value")?;
    let epoch = epoch.try_into().map_err(|_| damaged("meta", "epoch", "value"))?;
    Ok(Meta {
        cluster_id,
        signing_key: find("signing_key")?.bytes("value")?,
        epoch: u64::from_be_bytes(epoch),
    })
}

fn damaged(table: &'static str, row: &str, column: &'static str) -> StorageError {
    StorageError::Damaged { table, row: row.to_owned(), column }
}
