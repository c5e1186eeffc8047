//! The tokens of the Admin API in a SQLite file.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::SqliteLog;
use super::rows::{damaged, hash, value};
use crate::log::StorageError;
use crate::log::tokens::{CreateTokenError, Token, TokenHash, TokenStore};

const TABLE: &str = "admin_tokens";

#[async_trait]
impl TokenStore for SqliteLog {
    async fn create_token(&self, token: &Token) -> Result<(), CreateTokenError> {
        let stored: Result<_, sqlx::Error> = self
            .transact(async |connection| {
                sqlx::query(
                    "INSERT INTO admin_tokens \
                     (id, name, role, hash, created_at, created_by, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(token.id.as_bytes().as_slice())
                .bind(token.name.as_str())
                .bind(token.role.name())
                .bind(token.hash.as_bytes().as_slice())
                .bind(token.created_at.timestamp_millis())
                .bind(token.created_by.as_str())
                .bind(token.expires_at.map(|at| at.timestamp_millis()))
                .execute(connection)
                .await
            })
            .await;
        match stored {
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(CreateTokenError::NameTaken)
            }
            Err(error) => Err(CreateTokenError::Storage(error.into())),
        }
    }

    async fn tokens(&self) -> Result<Vec<Token>, StorageError> {
        let query = sqlx::query(
            "SELECT id, name, role, hash, created_at, created_by, expires_at, revoked_at, \
             revoked_by FROM admin_tokens ORDER BY created_at, id",
        );
        query.fetch_all(&self.readers).await?.iter().map(token).collect()
    }

    async fn revoke_token(
        &self,
        id: Uuid,
        at: DateTime<Utc>,
        by: &str,
    ) -> Result<bool, StorageError> {
        self.transact(async |connection| {
            let query = sqlx::query(
                "UPDATE admin_tokens SET revoked_at = COALESCE(revoked_at, $2), \
                 revoked_by = COALESCE(revoked_by, $3) WHERE id = $1",
            );
            let query = query.bind(id.as_bytes().to_vec()).bind(at.timestamp_millis()).bind(by);
            Ok(query.execute(connection).await?.rows_affected() > 0)
        })
        .await
    }

    async fn tokens_revision(&self) -> Result<u64, StorageError> {
        // Rows are never deleted and never restored, so the sum only grows.
        let query = sqlx::query_scalar("SELECT COUNT(*) + COUNT(revoked_at) FROM admin_tokens");
        let count: i64 = query.fetch_one(&self.readers).await?;
        u64::try_from(count).map_err(|_| damaged(TABLE, "?", "revoked_at"))
    }
}

fn token(row: &SqliteRow) -> Result<Token, StorageError> {
    let id: Vec<u8> = row.try_get("id").map_err(|_| damaged(TABLE, "?", "id"))?;
    let id = Uuid::from_slice(&id).map_err(|_| damaged(TABLE, "?", "id"))?;
    let key = id.to_string();
    let text = |column| value::<String>(TABLE, row, &key, column);
    let moment = |column, millis: i64| {
        DateTime::from_timestamp_millis(millis).ok_or_else(|| damaged(TABLE, &key, column))
    };
    let optional = |column| {
        let millis: Option<i64> = value(TABLE, row, &key, column)?;
        millis.map(|millis| moment(column, millis)).transpose()
    };
    let revoked_by: Option<String> = value(TABLE, row, &key, "revoked_by")?;
    Ok(Token {
        id,
        name: text("name")?.parse().map_err(|_| damaged(TABLE, &key, "name"))?,
        role: text("role")?.parse().map_err(|_| damaged(TABLE, &key, "role"))?,
        hash: TokenHash::from_bytes(hash(TABLE, row, &key, "hash")?),
        created_at: moment("created_at", value(TABLE, row, &key, "created_at")?)?,
        created_by: text("created_by")?,
        expires_at: optional("expires_at")?,
        revoked: optional("revoked_at")?.map(|at| (at, revoked_by.unwrap_or_default())),
    })
}
