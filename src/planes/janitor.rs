//! Clears stored snapshots away, now and then, while a control plane runs.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::domain::hash::ConfigHash;
use crate::fleet::Fleet;
use crate::log::LogDatabase;
use crate::promotion::keeper;
use crate::settings::Settings;
use crate::writer::gc::{self, GcError, Policy};

/// The pause before the first look, and between two; each is up to twice as long, so that several
/// control planes do not look at once.
const PAUSE: Duration = Duration::from_secs(1800);

/// What clears snapshots away.
pub(super) struct Janitor {
    log: Arc<dyn LogDatabase>,
    fleet: Arc<Fleet>,
    policy: Policy,
    clock: Clock,
}

impl Janitor {
    pub(super) fn new(
        settings: &Settings,
        log: Arc<dyn LogDatabase>,
        fleet: Arc<Fleet>,
        clock: Clock,
    ) -> Self {
        let keep = settings.snapshot_keep;
        let age = TimeDelta::from_std(keep.age).unwrap_or(TimeDelta::MAX);
        Self { log, fleet, policy: Policy { keep: keep.count, age }, clock }
    }

    /// Runs until `stop` turns true.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let part = (self.clock.random() % 1000) as u32;
            tokio::select! {
                () = tokio::time::sleep(PAUSE + PAUSE * part / 1000) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            // A removal that is given up half-way is gone on with the next time.
            tokio::select! {
                cleared = self.clear() => if let Err(error) = cleared {
                    tracing::warn!(?error, "cannot clear stored snapshots away");
                },
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn clear(&self) -> Result<(), GcError> {
        let now = self.clock.now();
        let mut retained = gc::configs_of_data_planes(&*self.log, now).await?;
        retained.extend(self.served(now));
        retained.extend(keeper::held(&*self.log).await?.iter().map(|held| held.config_hash));
        let cleared = gc::clear(&*self.log, self.policy, &retained, now, false).await?;
        if !cleared.snapshots.is_empty() || cleared.nodes > 0 {
            tracing::info!(
                snapshots = cleared.snapshots.len(),
                nodes = cleared.nodes,
                kept = cleared.kept,
                "stored snapshots cleared away"
            );
        }
        Ok(())
    }

    /// Returns what data planes run by what this control plane knows now, connected or not; the
    /// database may not have been told yet.
    fn served(&self, now: DateTime<Utc>) -> Vec<ConfigHash> {
        self.fleet.rows(now).iter().filter_map(|row| row.applied_hash).collect()
    }
}
