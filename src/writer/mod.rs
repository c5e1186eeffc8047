//! The one task that turns decisions into events and moves the head.
//!
//! A [`Writer`] is a handle; its [`WriterTask`] decides waiting writes one after the other, each on
//! the config that the one before leads to, appends them in one transaction, and answers each when
//! that is durable. Rows that another process appended are noticed and published as well.
//!
//! Invariants:
//! - a head is published, and a write answered, only when its event is durable;
//! - a head's snapshot has the hash that the log recorded at its position;
//! - a write that changes nothing appends nothing;
//! - a write that takes away more than half of the routes or services is forced, or refused;
//! - after a failure nothing is decided before the log has been asked what became of it;
//! - a caller that goes away changes nothing: its write happens or not, as a whole.

mod alarm;
pub mod audit;
pub mod blame;
pub mod compaction;
pub mod explain;
pub mod filter;
pub mod gc;
pub mod history;
mod job;
mod oversize;
mod past;
mod precondition;
pub mod projector;
pub mod search;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::{self, Fresh};
use crate::domain::event::{Change, EventKind, Origin, Seq};
use crate::domain::hash::{ConfigHash, EventHash};
use crate::domain::rejection::Rejection;
use crate::domain::shrink::Shrink;
use crate::log::checkpoint::Trace;
use crate::log::moment::Moment;
use crate::log::{AppendError, EventLog, Tip};
use crate::snapshot::Snapshot;

use self::history::{AtError, History, ReplayError};
use self::job::{Job, Pending, Reply, Terms};
pub use self::oversize::Oversize;
use self::past::Past;
pub use self::precondition::Precondition;
pub use self::task::WriterTask;

/// How many writes may wait; more callers wait for their turn to wait.
const WAITING_MAX: usize = 1024;

/// A log position and the config that is in force there.
#[derive(Clone, Debug)]
pub struct Head {
    /// The position; 0 before the first event.
    pub seq: Seq,
    /// When it was reached, by the clock of who wrote; 1970 before the first event.
    pub at: DateTime<Utc>,
    /// The hash of the log's row at the position.
    pub event_hash: EventHash,
    /// The config, frozen.
    pub snapshot: Arc<Snapshot>,
    /// The name of the snapshot.
    pub config_hash: ConfigHash,
}

impl Head {
    /// Returns the head of an empty log.
    pub fn empty() -> Self {
        let snapshot = Snapshot::of(Config::default());
        Self {
            seq: Tip::START.seq,
            at: DateTime::UNIX_EPOCH,
            event_hash: Tip::START.hash,
            config_hash: snapshot.hash(),
            snapshot: Arc::new(snapshot),
        }
    }

    /// Returns the end of a log that ends here.
    pub fn tip(&self) -> Tip {
        Tip { seq: self.seq, hash: self.event_hash }
    }

    /// Returns the head that an event makes of `snapshot`.
    fn after(event: &Trace, snapshot: Snapshot) -> Self {
        Self {
            seq: event.seq,
            at: event.time().unwrap_or(DateTime::UNIX_EPOCH),
            event_hash: event.hash,
            config_hash: snapshot.hash(),
            snapshot: Arc::new(snapshot),
        }
    }
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The caller's fault.
    #[error("write was rejected: {}", .0.message())]
    Rejected(Rejection),
    /// The caller wanted it on another config; nothing was written.
    #[error("config in force is {current}")]
    Stale {
        /// The config that the write met.
        current: ConfigHash,
    },
    /// It would take away too much, and nobody said that this is meant; nothing was written.
    #[error("write would remove {0}")]
    Shrinks(Shrink),
    /// Data planes could not get it; nothing was written.
    #[error("{0}")]
    TooLarge(Oversize),
    /// The log cannot take it now; nothing was written.
    #[error("log is not available for writes")]
    Unavailable(#[source] Arc<AppendError>),
    /// The log failed on the way, and cannot be asked now whether it has it. If it has, it shows up
    /// as a head before another write is answered.
    #[error("log failed, and whether the write is in it is not known yet")]
    InDoubt(#[source] Arc<AppendError>),
    /// The writer's task has ended.
    #[error("control plane is shutting down")]
    ShuttingDown,
    /// The changes do not lead to the config that they should lead to; nothing was written.
    #[error("changes lead to config {actual}, not to {expected}")]
    Mismatch {
        /// The config that they should lead to.
        expected: ConfigHash,
        /// The config that they lead to.
        actual: ConfigHash,
    },
}

/// Why a rollback did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The moment to go back to cannot be found or rebuilt.
    #[error("config to roll back to was not found")]
    Target(#[source] AtError),
    /// The write did not happen.
    #[error("rollback was not written")]
    Write(#[source] WriteError),
}

/// A handle on the writer; clones share its task.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    heads: watch::Receiver<Arc<Head>>,
    history: History,
    past: Arc<Past>,
    precondition: Precondition,
    forced: bool,
    reachable: Arc<AtomicBool>,
}

impl Writer {
    /// Brings the config of the log's end into memory. Whoever holds the returned task runs it;
    /// without it writes wait for ever.
    pub async fn open(
        log: Arc<dyn EventLog>,
        catalog: Arc<Catalog>,
        clock: Clock,
    ) -> Result<(Self, WriterTask), ReplayError> {
        let history = History::new(log, catalog);
        let head = Arc::new(history.newest().await?);
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let (announce, heads) = watch::channel(head);
        let reachable = Arc::new(AtomicBool::new(true));
        let task = WriterTask::new(history.clone(), clock, waiting, announce, reachable.clone());
        let past = Arc::new(Past::new(history.clone()));
        let precondition = Precondition::Any;
        Ok((Self { jobs, heads, history, past, precondition, forced: false, reachable }, task))
    }

    /// Returns the newest head.
    pub fn head(&self) -> Arc<Head> {
        self.heads.borrow().clone()
    }

    /// Returns a receiver that always holds the newest head.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Head>> {
        self.heads.clone()
    }

    /// Returns whether the log's database answered when it was last asked.
    pub fn reaches_log(&self) -> bool {
        self.reachable.load(Ordering::Relaxed) && !self.jobs.is_closed()
    }

    /// Returns what answers questions about the past.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the head of a moment. Those visited lately are at hand.
    pub async fn at(&self, moment: Moment) -> Result<Arc<Head>, AtError> {
        self.past.at(&self.head(), moment).await
    }

    /// Returns a handle whose writes happen on these configs only.
    pub fn when(&self, precondition: Precondition) -> Self {
        Self { precondition, ..self.clone() }
    }

    /// Returns a handle whose writes may take away as much as they want, if `forced`.
    pub fn force(&self, forced: bool) -> Self {
        Self { forced, ..self.clone() }
    }

    /// Decides, appends, and answers with the head that the write led to once it is durable.
    /// `decide` runs again, on a newer config, when another process wrote first. No change means no
    /// event: then the head is the one that the write met.
    pub async fn write<T, F>(&self, origin: Origin, decide: F) -> Result<(T, Arc<Head>), WriteError>
    where
        T: Send + 'static,
        F: FnMut(&Config, &mut Fresh<'_>) -> Result<(Vec<Change>, T), Rejection> + Send + 'static,
    {
        self.submit(origin, None, decide).await
    }

    /// Replaces every entity by those of `config`, as one event.
    pub async fn import(&self, origin: Origin, config: Config) -> Result<Arc<Head>, WriteError> {
        let origin = Origin { kind: EventKind::Imported, ..origin };
        let expected = Snapshot::of(config.clone()).hash();
        let catalog = self.history.catalog().clone();
        let decide = move |now: &Config, _: &mut Fresh<'_>| Ok((now.diff(&catalog, &config), ()));
        Ok(self.submit(origin, Some(expected), decide).await?.1)
    }

    /// Brings back the config of an earlier moment, as one more event. What it brings is checked
    /// against today's schemas first.
    pub async fn rollback(&self, origin: Origin, to: Moment) -> Result<Arc<Head>, RollbackError> {
        let target = self.at(to).await.map_err(RollbackError::Target)?;
        let origin = Origin { kind: EventKind::RolledBack, ..origin };
        let expected = target.config_hash;
        let catalog = self.history.catalog().clone();
        let decide = move |now: &Config, _: &mut Fresh<'_>| {
            Ok((rollback_changes(&catalog, now, target.snapshot.config())?, ()))
        };
        let written = self.submit(origin, Some(expected), decide).await;
        Ok(written.map_err(RollbackError::Write)?.1)
    }

    async fn submit<T, F>(
        &self,
        origin: Origin,
        expected: Option<ConfigHash>,
        decide: F,
    ) -> Result<(T, Arc<Head>), WriteError>
    where
        T: Send + 'static,
        F: FnMut(&Config, &mut Fresh<'_>) -> Result<(Vec<Change>, T), Rejection> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let terms =
            Terms { precondition: self.precondition.clone(), forced: self.forced, expected };
        let job = Box::new(Pending::new(origin, terms, decide, reply));
        self.jobs.send(job).await.map_err(|_| WriteError::ShuttingDown)?;
        match answer.await {
            Ok(Reply::Answer(answer)) => answer,
            // A bug in `decide` is the caller's: it goes on in the caller's task.
            Ok(Reply::Panicked(payload)) => std::panic::resume_unwind(payload),
            Err(_) => Err(WriteError::ShuttingDown),
        }
    }
}

/// Returns the changes that lead from a config back to an earlier one, if that is still valid.
///
/// # Errors
///
/// What today's schemas refuse of the earlier one.
pub fn rollback_changes(
    catalog: &Catalog,
    now: &Config,
    then: &Config,
) -> Result<Vec<Change>, Rejection> {
    let changes = now.diff(catalog, then);
    decide::check_changes(catalog, then, &changes).map_err(|(_, rejection)| rejection)?;
    Ok(changes)
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("head", &self.head().seq).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
