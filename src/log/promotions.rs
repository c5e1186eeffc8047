//! What the database keeps of promotion: decisions on which data planes get which config.
//!
//! They are no events: no config changes by them, and a rollback must not undo them. As with events,
//! rows only grow, their key decides which of two writers was first, and what they say stays text
//! here.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StorageError;

/// One decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PromotionRow {
    /// Its number; the first one is 1, and there is no gap.
    pub id: u64,
    /// When it was made, by the clock of who made it.
    pub at: DateTime<Utc>,
    /// Who made it.
    pub actor: String,
    /// By which way it came: `admin-api`, `cli`, or `control-plane` if nobody asked for it.
    pub source: String,
    /// Why, if somebody said so.
    pub reason: Option<String>,
    /// What was decided, as JSON that its writer understands.
    pub decision: String,
}

/// A database that holds decisions on promotion.
#[async_trait]
pub trait PromotionStore: Send + Sync + std::fmt::Debug {
    /// Stores a decision: durable before it answers `true`. Answers `false`, and stores nothing, if
    /// somebody else has taken the number.
    async fn record_promotion(&self, row: &PromotionRow) -> Result<bool, StorageError>;

    /// Returns the decisions after a number, oldest first.
    async fn promotions(&self, after: u64) -> Result<Vec<PromotionRow>, StorageError>;
}
