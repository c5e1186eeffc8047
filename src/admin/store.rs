//! The boundary to the log: what the Admin API needs of the writer, and nothing more.

use std::sync::Arc;

use async_trait::async_trait;

use super::error::ApiError;
use crate::domain::config::Config;
use crate::domain::decide::Fresh;
use crate::domain::entity::Entity;
use crate::domain::event::{Change, Event, Origin, Seq};
use crate::domain::hash::ConfigHash;

/// The newest config and its place in the log.
#[derive(Clone)]
pub struct View {
    /// Its log position.
    pub seq: Seq,
    /// Its name.
    pub config_hash: ConfigHash,
    /// The entities.
    pub config: Arc<Config>,
}

/// An accepted write: what changes, and the entity to answer with.
#[derive(Clone, Default)]
pub struct Decided {
    /// What changes; nothing is appended when this is empty.
    pub changes: Vec<Change>,
    /// The entity as it is afterwards; none after a deletion.
    pub entity: Option<Entity>,
}

/// Decides a write against a config. It runs again when somebody else wrote first.
pub type Decide = dyn Fn(&Config, &mut Fresh<'_>) -> Result<Decided, ApiError> + Send + Sync;

/// Which events of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventPage {
    /// The newest first, those before this position only.
    Before(Seq),
    /// The oldest first, those after this position only.
    After(Seq),
}

/// Why the log could not be used; writes fail while it lasts, reads go on.
#[derive(Debug, thiserror::Error)]
#[error("the log is not available")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where reads come from and writes go: the writer, or a config in memory for tests.
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns the newest config.
    fn view(&self) -> View;

    /// Decides, appends, and returns what was decided with the head that contains it.
    async fn write(&self, origin: Origin, decide: Arc<Decide>)
    -> Result<(Decided, View), ApiError>;

    /// Returns up to `size` events.
    async fn events(&self, page: EventPage, size: usize) -> Result<Vec<Event>, StoreError>;

    /// Returns the config at a moment as people write it: a position, or a hash's beginning.
    async fn config_at(&self, moment: &str) -> Result<Arc<Config>, ApiError>;
}
