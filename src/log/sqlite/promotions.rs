//! Decisions on promotion in a SQLite file.

use async_trait::async_trait;
use chrono::DateTime;
use sqlx::sqlite::SqliteRow;

use super::SqliteLog;
use super::rows::{damaged, integer, value};
use crate::log::StorageError;
use crate::log::promotions::{PromotionRow, PromotionStore};

const TABLE: &str = "promotions";

#[async_trait]
impl PromotionStore for SqliteLog {
    async fn record_promotion(&self, row: &PromotionRow) -> Result<bool, StorageError> {
        let stored: Result<_, sqlx::Error> = self
            .transact(async |connection| {
                sqlx::query(
                    "INSERT INTO promotions (id, at, actor, source, reason, decision) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(integer(row.id))
                .bind(row.at.timestamp_millis())
                .bind(row.actor.as_str())
                .bind(row.source.as_str())
                .bind(row.reason.as_deref())
                .bind(row.decision.as_str())
                .execute(connection)
                .await
            })
            .await;
        match stored {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn promotions(&self, after: u64) -> Result<Vec<PromotionRow>, StorageError> {
        let query = sqlx::query(
            "SELECT id, at, actor, source, reason, decision FROM promotions WHERE id > $1 \
             ORDER BY id",
        );
        let found = query.bind(integer(after)).fetch_all(&self.readers).await?;
        found.iter().map(promotion).collect()
    }
}

fn promotion(row: &SqliteRow) -> Result<PromotionRow, StorageError> {
    let id: i64 = value(TABLE, row, "?", "id")?;
    let key = id.to_string();
    let at = DateTime::from_timestamp_millis(value(TABLE, row, &key, "at")?);
    Ok(PromotionRow {
        id: u64::try_from(id).map_err(|_| damaged(TABLE, &key, "id"))?,
        at: at.ok_or_else(|| damaged(TABLE, &key, "at"))?,
        actor: value(TABLE, row, &key, "actor")?,
        source: value(TABLE, row, &key, "source")?,
        reason: value(TABLE, row, &key, "reason")?,
        decision: value(TABLE, row, &key, "decision")?,
    })
}
