//! Decisions on promotion over any database that runs statements.

use async_trait::async_trait;
use chrono::DateTime;

use super::{Cells, Columns, SqlDatabase, Statement};
use crate::log::StorageError;
use crate::log::promotions::{PromotionRow, PromotionStore};

const TABLE: &str = "promotions";

#[async_trait]
impl<D: SqlDatabase> PromotionStore for D {
    async fn record_promotion(&self, row: &PromotionRow) -> Result<bool, StorageError> {
        let insert = Statement::new(
            "INSERT INTO promotions (id, at, actor, source, reason, decision) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        );
        let insert = insert
            .unsigned(row.id)
            .integer(row.at.timestamp_millis())
            .text(row.actor.as_str())
            .text(row.source.as_str())
            .text(row.reason.as_deref())
            .text(row.decision.as_str());
        match self.transact(vec![insert]).await {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn promotions(&self, after: u64) -> Result<Vec<PromotionRow>, StorageError> {
        let query = Statement::new(
            "SELECT id, at, actor, source, reason, decision FROM promotions WHERE id > $1 \
             ORDER BY id",
        );
        self.fetch(query.unsigned(after)).await?.iter().map(promotion).collect()
    }
}

fn promotion(row: &impl Columns) -> Result<PromotionRow, StorageError> {
    let cells = Cells::new(TABLE, row);
    let id = cells.unsigned("id")?;
    let cells = cells.keyed(id);
    let at = DateTime::from_timestamp_millis(cells.integer("at")?);
    Ok(PromotionRow {
        id,
        at: at.ok_or_else(|| cells.damaged("at"))?,
        actor: cells.text("actor")?,
        source: cells.text("source")?,
        reason: cells.optional_text("reason")?,
        decision: cells.text("decision")?,
    })
}
