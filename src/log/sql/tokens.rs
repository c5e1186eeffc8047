//! The tokens of the Admin API over any database that runs statements.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Cells, Columns, SqlDatabase, Statement};
use crate::log::StorageError;
use crate::log::tokens::{CreateTokenError, Token, TokenHash, TokenStore};

const TABLE: &str = "admin_tokens";

#[async_trait]
impl<D: SqlDatabase> TokenStore for D {
    async fn create_token(&self, token: &Token) -> Result<(), CreateTokenError> {
        let insert = Statement::new(
            "INSERT INTO admin_tokens \
             (id, name, role, hash, created_at, created_by, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        );
        let insert = insert
            .bytes(token.id.as_bytes())
            .text(token.name.as_str())
            .text(token.role.name())
            .bytes(token.hash.as_bytes())
            .integer(token.created_at.timestamp_millis())
            .text(token.created_by.as_str())
            .integer(token.expires_at.map(|at| at.timestamp_millis()));
        match self.transact(vec![insert]).await {
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(CreateTokenError::NameTaken)
            }
            Err(error) => Err(CreateTokenError::Storage(error.into())),
        }
    }

    async fn tokens(&self) -> Result<Vec<Token>, StorageError> {
        let query = Statement::new(
            "SELECT id, name, role, hash, created_at, created_by, expires_at, revoked_at, \
             revoked_by FROM admin_tokens ORDER BY created_at, id",
        );
        self.fetch(query).await?.iter().map(token).collect()
    }

    async fn revoke_token(
        &self,
        id: Uuid,
        at: DateTime<Utc>,
        by: &str,
    ) -> Result<bool, StorageError> {
        let update = Statement::new(
            "UPDATE admin_tokens SET revoked_at = COALESCE(revoked_at, $1), \
             revoked_by = COALESCE(revoked_by, $2) WHERE id = $3",
        );
        let update = update.integer(at.timestamp_millis()).text(by).bytes(id.as_bytes());
        Ok(self.transact(vec![update]).await? > 0)
    }

    async fn tokens_revision(&self) -> Result<u64, StorageError> {
        // Rows are never deleted and never restored, so the sum only grows.
        let query =
            Statement::new("SELECT COUNT(*) + COUNT(revoked_at) AS revision FROM admin_tokens");
        let found = self.fetch(query).await?;
        found.first().map_or(Ok(0), |row| Cells::new(TABLE, row).unsigned("revision"))
    }
}

fn token(row: &impl Columns) -> Result<Token, StorageError> {
    let cells = Cells::new(TABLE, row);
    let id = cells.id("id")?;
    let cells = cells.keyed(id);
    let moment = |column, millis: i64| {
        DateTime::from_timestamp_millis(millis).ok_or_else(|| cells.damaged(column))
    };
    let optional = |column| {
        let millis = cells.optional_integer(column)?;
        millis.map(|millis| moment(column, millis)).transpose()
    };
    let revoked_by = cells.optional_text("revoked_by")?;
    Ok(Token {
        id,
        name: cells.text("name")?.parse().map_err(|_| cells.damaged("name"))?,
        role: cells.text("role")?.parse().map_err(|_| cells.damaged("role"))?,
        hash: TokenHash::from_bytes(cells.hash("hash")?),
        created_at: moment("created_at", cells.integer("created_at")?)?,
        created_by: cells.text("created_by")?,
        expires_at: optional("expires_at")?,
        revoked: optional("revoked_at")?.map(|at| (at, revoked_by.unwrap_or_default())),
    })
}
