//! Shares a fleet with the other control planes of a database.
//!
//! What is new goes there once a second, in one transaction, however many data planes it is about;
//! what others stored comes back. No session ever waits for it, and while the database fails the
//! news wait, the newest of each data plane.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::{ControlPlane, Fleet};
use crate::clock::Clock;
use crate::log::StorageError;
use crate::log::fleet::{ControlPlaneRow, FleetStore};

/// The pause between two turns.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often a control plane that has nothing to tell says that it runs.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// How often what has expired is removed.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// What shares the fleet of one control plane.
#[derive(Debug)]
pub struct Sharer {
    store: Arc<dyn FleetStore>,
    fleet: Arc<Fleet>,
    clock: Clock,
    me: ControlPlaneRow,
    /// How far the rows of others were read.
    revision: Option<u64>,
    beaten_at: Option<Instant>,
    purged_at: Option<Instant>,
}

impl Sharer {
    /// Makes one for a control plane that starts now, and forgets the one that its node was before.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn start(
        store: Arc<dyn FleetStore>,
        fleet: Arc<Fleet>,
        clock: Clock,
    ) -> Result<Self, StorageError> {
        let ControlPlane { node_id, hostname } = fleet.here.clone();
        for old in store.control_planes().await?.iter().filter(|it| it.node_id == node_id) {
            // A database that takes no writes is no reason not to serve: others find out.
            if let Err(error) = store.forget_control_plane(old).await {
                tracing::warn!(?error, "cannot tell that this node has started anew");
            }
        }
        // Drawn from the machine: a seeded clock may have been here before.
        let me = ControlPlaneRow { id: Clock::System.id(), node_id, hostname, beat: 0 };
        let (revision, beaten_at, purged_at) = (None, None, None);
        let mut sharer = Self { store, fleet, clock, me, revision, beaten_at, purged_at };
        sharer.look(Instant::now()).await?;
        Ok(sharer)
    }

    /// Returns the id that rows are stored by.
    pub fn id(&self) -> Uuid {
        self.me.id
    }

    /// Runs until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            let done = self.turn(Instant::now()).await;
            match &done {
                Err(error) if !failing => {
                    tracing::warn!(?error, "cannot share what is known of data planes");
                }
                Ok(()) if failing => tracing::info!("what is known of data planes is shared again"),
                _ => {}
            }
            failing = done.is_err();
        }
        if let Err(error) = self.end().await {
            tracing::warn!(?error, "cannot tell other control planes that this one stops");
        }
    }

    /// Tells the news, learns those of others, and removes what has expired.
    ///
    /// # Errors
    ///
    /// The database fails. What was not told is told by a later turn.
    pub async fn turn(&mut self, now: Instant) -> Result<(), StorageError> {
        let done = self.exchange(now).await;
        if done.is_err() {
            self.fleet.look_failed();
        }
        done
    }

    async fn exchange(&mut self, now: Instant) -> Result<(), StorageError> {
        self.tell(now).await?;
        self.look(now).await?;
        if is_due(self.purged_at, PURGE_INTERVAL, now) {
            self.purged_at = Some(now);
            let time = self.clock.now();
            self.fleet.expire(time);
            self.store.purge_data_planes(time).await?;
            for gone in self.fleet.long_gone(now) {
                self.store.forget_control_plane(&gone).await?;
            }
        }
        Ok(())
    }

    async fn tell(&mut self, now: Instant) -> Result<(), StorageError> {
        let news = self.fleet.news();
        if news.is_empty() && !is_due(self.beaten_at, BEAT_INTERVAL, now) {
            return Ok(());
        }
        let me = ControlPlaneRow { beat: self.me.beat + 1, ..self.me.clone() };
        if let Err(error) = self.store.share(&me, &news).await {
            self.fleet.untold(&news);
            return Err(error);
        }
        (self.me, self.beaten_at) = (me, Some(now));
        Ok(())
    }

    async fn look(&mut self, now: Instant) -> Result<(), StorageError> {
        // Control planes last: whoever stored one of the rows is among them, if it runs.
        let planes = self.store.data_planes(self.revision).await?;
        let control_planes = self.store.control_planes().await?;
        self.revision = planes.last().map(|row| row.revision).or(self.revision);
        self.fleet.learn(self.me.id, planes, control_planes, now);
        Ok(())
    }

    /// Tells what is left to tell, and that this control plane runs no more.
    ///
    /// # Errors
    ///
    /// The database fails: others find out by themselves.
    pub async fn end(mut self) -> Result<(), StorageError> {
        self.tell(Instant::now()).await?;
        self.store.forget_control_plane(&self.me).await
    }
}

fn is_due(last: Option<Instant>, interval: Duration, now: Instant) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= interval)
}
