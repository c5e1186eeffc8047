//! The fleet over any database that runs statements.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Cells, Columns, SqlDatabase, Statement};
use crate::log::StorageError;
use crate::log::fleet::{ControlPlaneRow, DataPlaneNews, DataPlaneRow, FleetStore};

/// Rows in one statement.
const BATCH_LEN: usize = 64;

#[async_trait]
impl<D: SqlDatabase> FleetStore for D {
    async fn share(
        &self,
        control_plane: &ControlPlaneRow,
        news: &[DataPlaneNews],
    ) -> Result<(), StorageError> {
        let mut statements = Vec::new();
        let (spoke, silent): (Vec<_>, Vec<_>) = news.iter().partition(|it| it.spoke);
        if !news.is_empty() {
            statements.push(turn());
        }
        statements.push(
            Statement::new(
                "INSERT INTO control_planes (id, node_id, hostname, beat) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (id) DO UPDATE SET beat = excluded.beat",
            )
            .bytes(control_plane.id.as_bytes())
            .bytes(control_plane.node_id.as_bytes())
            .text(control_plane.hostname.as_str())
            .unsigned(control_plane.beat),
        );
        for batch in spoke.chunks(BATCH_LEN) {
            statements.push(upsert(control_plane, batch));
        }
        for batch in silent.chunks(BATCH_LEN) {
            let mine = " WHERE data_planes.heard_by = excluded.heard_by";
            statements.push(upsert(control_plane, batch).then(mine));
        }
        self.transact(statements).await?;
        Ok(())
    }

    async fn data_planes(&self, after: Option<u64>) -> Result<Vec<DataPlaneRow>, StorageError> {
        let query = Statement::new(
            "SELECT id, row, expires_at, heard_by, revision FROM data_planes \
             WHERE revision > $1 ORDER BY revision, id",
        );
        // Rows of earlier releases are at revision 0.
        let query = match after {
            Some(after) => query.unsigned(after),
            None => query.integer(-1),
        };
        self.fetch(query).await?.iter().map(data_plane).collect()
    }

    async fn control_planes(&self) -> Result<Vec<ControlPlaneRow>, StorageError> {
        let query = "SELECT id, node_id, hostname, beat FROM control_planes ORDER BY id";
        self.fetch(Statement::new(query)).await?.iter().map(control_plane).collect()
    }

    async fn purge_data_planes(&self, now: DateTime<Utc>) -> Result<u64, StorageError> {
        let delete = Statement::new("DELETE FROM data_planes WHERE expires_at <= $1");
        let delete = delete.integer(now.timestamp_millis());
        // The turn is a row that is written, too.
        Ok(self.transact(vec![turn(), delete]).await?.saturating_sub(1))
    }

    async fn forget_control_plane(&self, gone: &ControlPlaneRow) -> Result<(), StorageError> {
        let delete = Statement::new("DELETE FROM control_planes WHERE id = $1 AND beat = $2");
        self.transact(vec![delete.bytes(gone.id.as_bytes()).unsigned(gone.beat)]).await?;
        Ok(())
    }
}

/// Returns the statement after which nobody else stores rows until the transaction ends, so that
/// who reads in the order of revisions misses none that is stored late. It writes one row.
fn turn() -> Statement<'static> {
    Statement::new("UPDATE fleet_revision SET revision = revision + 1")
}

/// Returns the statement that stores rows over those that are there.
fn upsert<'a>(by: &'a ControlPlaneRow, news: &'a [&'a DataPlaneNews]) -> Statement<'a> {
    let insert = Statement::new(
        "INSERT INTO data_planes (id, row, expires_at, heard_by, revision) \
         SELECT fresh.*, (SELECT revision FROM fleet_revision) FROM (",
    );
    insert
        .rows(news, |values, it| {
            values
                .bytes(it.id.as_bytes())
                .text(it.row.as_str())
                .integer(it.expires_at.timestamp_millis())
                .bytes(by.id.as_bytes())
        })
        .then(
            ") AS fresh WHERE 1 = 1 ON CONFLICT (id) DO UPDATE SET row = excluded.row, \
             expires_at = excluded.expires_at, heard_by = excluded.heard_by, \
             revision = excluded.revision",
        )
}

fn data_plane(row: &impl Columns) -> Result<DataPlaneRow, StorageError> {
    let cells = Cells::new("data_planes", row);
    let id = cells.id("id")?;
    let cells = cells.keyed(id);
    let expires_at = DateTime::from_timestamp_millis(cells.integer("expires_at")?)
        .ok_or_else(|| cells.damaged("expires_at"))?;
    let heard_by = cells.optional_id("heard_by")?;
    let revision = cells.unsigned("revision")?;
    Ok(DataPlaneRow { id, row: cells.text("row")?, expires_at, heard_by, revision })
}

fn control_plane(row: &impl Columns) -> Result<ControlPlaneRow, StorageError> {
    let cells = Cells::new("control_planes", row);
    let id = cells.id("id")?;
    let cells = cells.keyed(id);
    let (node_id, hostname) = (cells.id("node_id")?, cells.text("hostname")?);
    Ok(ControlPlaneRow { id, node_id, hostname, beat: cells.unsigned("beat")? })
}
