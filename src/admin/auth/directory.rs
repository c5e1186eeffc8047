//! The tokens in memory, kept in step with the database that all control planes share.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::role::AdminRole;
use crate::log::StorageError;
use crate::log::tokens::{CreateTokenError, Token, TokenSecret, TokenStore};

/// How often the database is asked whether others made or revoked tokens.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Why a token was not accepted; for the log, not for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    #[error("the token is none of ours")]
    Malformed,
    #[error("there is no such token")]
    Absent,
    #[error("the token's secret is wrong")]
    Secret,
    #[error("the token was revoked")]
    Revoked,
    #[error("the token has expired")]
    Expired,
}

/// The tokens in memory.
#[derive(Debug)]
pub(super) struct Directory {
    store: Arc<dyn TokenStore>,
    clock: Clock,
    known: RwLock<Arc<Known>>,
    /// Held while the database is read, so that older tokens do not replace newer ones.
    reading: Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    revision: u64,
    tokens: HashMap<Uuid, Arc<Token>>,
}

impl Directory {
    /// Reads the tokens.
    pub(super) async fn load(
        store: Arc<dyn TokenStore>,
        clock: Clock,
    ) -> Result<Self, StorageError> {
        let (known, reading) = (RwLock::default(), Mutex::default());
        let directory = Self { store, clock, known, reading };
        directory.refresh().await?;
        Ok(directory)
    }

    /// Finds the token whose secret this is. One that is not known may have been made by somebody
    /// else a moment ago, so the database is asked if `may_ask`.
    pub(super) async fn find(
        &self,
        secret: &TokenSecret,
        may_ask: bool,
    ) -> Result<Arc<Token>, Unknown> {
        let mut found = self.known().tokens.get(&secret.id()).cloned();
        if found.is_none() && may_ask {
            if let Err(error) = self.refresh().await {
                tracing::error!(?error, "cannot read the admin tokens");
            }
            found = self.known().tokens.get(&secret.id()).cloned();
        }
        let token = found.ok_or(Unknown::Absent)?;
        // In constant time; the holder of the right secret may then be told apart.
        if token.hash != secret.hash() {
            return Err(Unknown::Secret);
        }
        match (&token.revoked, token.is_live(self.clock.now())) {
            (Some(_), _) => Err(Unknown::Revoked),
            (None, false) => Err(Unknown::Expired),
            (None, true) => Ok(token),
        }
    }

    /// Returns all tokens, oldest first.
    pub(super) async fn list(&self) -> Result<Vec<Token>, StorageError> {
        self.store.tokens().await
    }

    /// Returns whether a token is good now.
    pub(super) fn is_live(&self, id: Uuid) -> bool {
        self.known().tokens.get(&id).is_some_and(|token| token.is_live(self.clock.now()))
    }

    /// Returns whether some token can do everything now.
    pub(super) fn has_admin(&self) -> bool {
        let now = self.clock.now();
        let known = self.known();
        known.tokens.values().any(|token| token.role == AdminRole::Admin && token.is_live(now))
    }

    /// Stores a token; it can be used when this returns.
    pub(super) async fn create(&self, token: &Token) -> Result<(), CreateTokenError> {
        self.store.create_token(token).await?;
        self.refresh().await.map_err(CreateTokenError::Storage)
    }

    /// Revokes a token; it cannot be used any more when this returns.
    pub(super) async fn revoke(
        &self,
        id: Uuid,
        at: DateTime<Utc>,
        by: &str,
    ) -> Result<bool, StorageError> {
        let is_there = self.store.revoke_token(id, at, by).await?;
        self.refresh().await?;
        Ok(is_there)
    }

    /// Follows the database until `stop`. While it cannot be read, the tokens that are known stay
    /// good: nobody can revoke one then, and reads of the configuration go on.
    pub(super) async fn follow(&self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            match self.refresh().await {
                Ok(()) if failing => tracing::info!("the admin tokens can be read again"),
                Err(error) if !failing => tracing::error!(?error, "cannot read the admin tokens"),
                outcome => {
                    failing = outcome.is_err();
                    continue;
                }
            }
            failing = !failing;
        }
    }

    /// Reads the tokens if there are others than those that are known.
    async fn refresh(&self) -> Result<(), StorageError> {
        let _reading = self.reading.lock().await;
        // Read first: what is written between the two is read again by the next one.
        let revision = self.store.tokens_revision().await?;
        if revision == self.known().revision {
            return Ok(());
        }
        let tokens = self.store.tokens().await?;
        let tokens = tokens.into_iter().map(|token| (token.id, Arc::new(token))).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Known { revision, tokens });
        Ok(())
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
