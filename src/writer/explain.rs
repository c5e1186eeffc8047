//! What events did, field by field: each event beside the config that it met.

use std::sync::Arc;

use super::Head;
use super::history::{History, ReplayError};
use crate::domain::config::Config;
use crate::domain::difference::Difference;
use crate::domain::event::{Event, Seq};

/// Explains events, best in their order: then each config comes from the one before.
pub struct Explainer {
    history: History,
    /// The config at `seq`.
    config: Config,
    seq: Seq,
    /// The head that was rebuilt last.
    near: Option<Arc<Head>>,
}

impl Explainer {
    /// Begins with nothing at hand.
    pub fn new(history: History) -> Self {
        Self { history, config: Config::default(), seq: Seq(0), near: None }
    }

    /// Returns what an event did to each entity.
    ///
    /// # Errors
    ///
    /// The config before the event cannot be rebuilt.
    pub async fn explain(&mut self, event: &Event) -> Result<Vec<Difference>, ReplayError> {
        let before = Seq(event.seq.0.saturating_sub(1));
        if self.seq != before {
            let head = self.history.rebuild(before, self.near.take()).await?;
            self.config = head.snapshot.config().clone();
            self.near = Some(head);
        }
        let (catalog, config) = (self.history.catalog(), &mut self.config);
        let differences = event.changes.iter().map(|change| {
            let difference = Difference::of(catalog, config, change);
            config.apply(catalog, change);
            difference
        });
        let differences = differences.collect();
        self.seq = event.seq;
        Ok(differences)
    }
}
