//! Messages for data planes of Kong: each is made once for all that are to get the same.

use std::sync::Arc;

use tokio::task::JoinError;
use uuid::Uuid;

use super::compat::Unsayable;
use super::compat::downgrade::Downgrade;
use super::table::export::{Origin, Payload, reconfigure};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::hash::ConfigHash;
use crate::wire::made::Made;
use crate::writer::Head;

/// How many messages are kept: those of a few versions, of a head and the one before.
const KEPT: usize = 8;

/// What tells messages apart: the config, and the version that it was made older for.
type Name = (ConfigHash, Option<String>);

/// The messages of late.
pub(in crate::wire) struct Payloads {
    catalog: Arc<Catalog>,
    cluster_id: Uuid,
    clock: Clock,
    made: Made<Name, Result<Arc<Payload>, Unsayable>>,
}

impl Payloads {
    pub(in crate::wire) fn new(catalog: Arc<Catalog>, cluster_id: Uuid, clock: Clock) -> Self {
        Self { catalog, cluster_id, clock, made: Made::keeping(KEPT) }
    }

    /// Returns the message that has the config of a head, for data planes of a version, or why they
    /// cannot be told it.
    ///
    /// # Errors
    ///
    /// Making it panicked, or the process ends.
    pub(super) async fn of(
        &self,
        head: &Arc<Head>,
        version: &str,
        downgrade: Option<Arc<Downgrade>>,
    ) -> Result<Result<Arc<Payload>, Unsayable>, JoinError> {
        let name = (head.config_hash, downgrade.is_some().then(|| version.to_owned()));
        let (catalog, snapshot) = (self.catalog.clone(), head.snapshot.clone());
        let timestamp = self.clock.now_ms() as f64 / 1000.0;
        let origin = Origin { cluster_id: self.cluster_id, timestamp };
        let make =
            move || reconfigure(&catalog, &snapshot, &origin, downgrade.as_deref()).map(Arc::new);
        self.made.of(name, make).await
    }
}
