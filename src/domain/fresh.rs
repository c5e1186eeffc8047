//! What a decision needs of the outside world, handed in as values.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The time of a write, and new ids.
pub struct Fresh<'a> {
    /// The time of the write.
    pub at: DateTime<Utc>,
    /// Draws a new id; also the source of generated secrets.
    pub id: &'a mut dyn FnMut() -> Uuid,
}
