//! The writer's task: batches, retries, and the tail of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::DateTime;
use tokio::sync::{mpsc, watch};

use super::history::{History, ReplayError};
use super::job::Job;
use super::{Head, WriteError};
use crate::clock::Clock;
use crate::domain::decide::Fresh;
use crate::domain::shrink::Shrink;
use crate::log::row::Row;
use crate::log::{AppendError, StorageError};

/// Most writes in one transaction.
const BATCH_LEN_MAX: usize = 256;

/// How often a batch is decided again because another process wrote first.
const ATTEMPTS_MAX: usize = 16;

/// What runs behind the [`Writer`](super::Writer) handles.
pub struct WriterTask {
    history: History,
    clock: Clock,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    announce: watch::Sender<Arc<Head>>,
    /// The head after the last append or catch-up; what `announce` holds.
    head: Arc<Head>,
    /// Whether the last look at the log or write to it succeeded; an outage is logged once.
    reachable: Arc<AtomicBool>,
}

/// A batch after its decisions: one head a job, and the rows to append.
struct Plan {
    heads: Vec<Result<Arc<Head>, WriteError>>,
    rows: Vec<Row>,
    last: Arc<Head>,
}

impl WriterTask {
    pub(super) fn new(
        history: History,
        clock: Clock,
        waiting: mpsc::Receiver<Box<dyn Job>>,
        announce: watch::Sender<Arc<Head>>,
        reachable: Arc<AtomicBool>,
    ) -> Self {
        let head = announce.borrow().clone();
        Self { history, clock, waiting, announce, head, reachable }
    }

    /// Runs until `stop` resolves or all handles are gone; waiting writes are finished first.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let log = self.history.log().clone();
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                job = self.waiting.recv() => match job {
                    Some(job) => self.commit_batch(job).await,
                    None => return,
                },
                changed = log.changed(self.head.seq) => self.look(changed).await,
            }
        }
        self.waiting.close();
        while let Some(job) = self.waiting.recv().await {
            self.commit_batch(job).await;
        }
    }

    /// Publishes what other processes appended.
    async fn look(&mut self, changed: Result<(), StorageError>) {
        let seen = match changed {
            Ok(()) => self.catch_up().await,
            Err(error) => Err(error.into()),
        };
        let reached = self.reachable.swap(seen.is_ok(), Ordering::Relaxed);
        match &seen {
            Ok(()) if !reached => tracing::info!("the event log can be read again"),
            Err(error) if reached => {
                tracing::error!(error = ?error, "cannot read the tail of the event log");
            }
            _ => {}
        }
    }

    async fn catch_up(&mut self) -> Result<(), ReplayError> {
        let newest = match self.history.follow(&self.head, None).await {
            // Others have moved away what this one has not seen: from a stored config on.
            Err(ReplayError::Archived(_)) => Arc::new(self.history.newest().await?),
            followed => followed?,
        };
        self.publish(newest);
        Ok(())
    }

    fn publish(&mut self, head: Arc<Head>) {
        if head.seq != self.head.seq {
            self.head = head;
            self.announce.send_replace(self.head.clone());
        }
    }

    async fn commit_batch(&mut self, first: Box<dyn Job>) {
        let mut batch = vec![first];
        while batch.len() < BATCH_LEN_MAX
            && let Ok(job) = self.waiting.try_recv()
        {
            batch.push(job);
        }
        match self.append(&mut batch).await {
            Ok(plan) => {
                self.reachable.store(true, Ordering::Relaxed);
                self.publish(plan.last);
                for (job, head) in batch.into_iter().zip(plan.heads) {
                    match head {
                        Ok(head) => job.accept(head),
                        Err(error) => job.fail(error),
                    }
                }
            }
            Err(error) => {
                tracing::error!(error = ?error, writes = batch.len(), "cannot append to the event log");
                let error = Arc::new(error);
                for job in batch {
                    job.fail(WriteError::Unavailable(error.clone()));
                }
                // The rows may be there although the answer was lost.
                let caught_up = self.catch_up().await;
                self.reachable.store(caught_up.is_ok(), Ordering::Relaxed);
            }
        }
    }

    /// Decides and appends until nobody else wrote first.
    async fn append(&mut self, batch: &mut [Box<dyn Job>]) -> Result<Plan, AppendError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let plan = self.decide(batch);
            let log = self.history.log();
            let appended = match plan.rows.as_slice() {
                // To answer that there is nothing to do is a promise too.
                [] => self.is_at_the_end().await,
                rows => log.append(self.head.tip(), rows).await,
            };
            match appended {
                Ok(()) => return Ok(plan),
                Err(AppendError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {
                    self.catch_up().await.map_err(ReplayError::into_append_error)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks that nobody else has written meanwhile.
    async fn is_at_the_end(&self) -> Result<(), AppendError> {
        let (expected, actual) = (self.head.tip(), self.history.log().tip().await?);
        if actual == expected {
            return Ok(());
        }
        Err(AppendError::Conflict { expected: expected.seq, actual: actual.seq })
    }

    fn decide(&self, batch: &mut [Box<dyn Job>]) -> Plan {
        let mut plan = Plan { heads: Vec::new(), rows: Vec::new(), last: self.head.clone() };
        for job in batch {
            let outcome = self.decide_one(job.as_mut(), &mut plan);
            plan.heads.push(outcome);
        }
        plan
    }

    fn decide_one(&self, job: &mut dyn Job, plan: &mut Plan) -> Result<Arc<Head>, WriteError> {
        // The log keeps microseconds: what is decided with and what is read back are the same.
        let now = self.clock.now();
        let at = DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now);
        let before = plan.last.clone();
        if !job.admits(before.config_hash) {
            return Err(WriteError::Stale { current: before.config_hash });
        }
        let mut id = || self.clock.id();
        let changes = job.decide(before.snapshot.config(), &mut Fresh { at, id: &mut id });
        if !job.is_forced()
            && let Some(shrink) = Shrink::of(before.snapshot.config(), &changes)
        {
            return Err(WriteError::Shrinks(shrink));
        }
        let after = before.snapshot.apply(self.history.catalog(), &changes);
        let actual = after.hash();
        if let Some(expected) = job.expected().filter(|expected| *expected != actual) {
            return Err(WriteError::Mismatch { expected, actual });
        }
        if actual == before.config_hash {
            return Ok(before);
        }
        let row = Row::seal(before.tip(), at, job.origin(), &changes, actual);
        plan.last = Arc::new(Head::after(&row.trace(), after));
        plan.rows.push(row);
        Ok(plan.last.clone())
    }
}
