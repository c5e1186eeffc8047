//! The writer's task: batches, retries, and the tail of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::DateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::alarm::Alarm;
use super::history::{History, ReplayError};
use super::job::Job;
use super::oversize::Oversize;
use super::{Head, WriteError};
use crate::clock::Clock;
use crate::domain::decide::Fresh;
use crate::domain::event::Seq;
use crate::domain::shrink::Shrink;
use crate::failpoint;
use crate::log::row::Row;
use crate::log::{AppendError, StorageError};

/// Most writes in one transaction.
const BATCH_LEN_MAX: usize = 256;

/// How often a batch is decided again because another process wrote first.
const ATTEMPTS_MAX: usize = 16;

/// How often the log is tried while it fails and nobody writes.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// What runs behind the [`Writer`](super::Writer) handles.
pub struct WriterTask {
    history: History,
    clock: Clock,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    announce: watch::Sender<Arc<Head>>,
    /// The head after the last append or catch-up; what `announce` holds.
    head: Arc<Head>,
    /// Whether the log could be read when it was last tried.
    reachable: Arc<AtomicBool>,
    alarm: Alarm,
    /// When the log was last tried after a failure.
    tried: Instant,
    /// The largest message that data planes get, in bytes.
    payload_bytes_max: usize,
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
        Self {
            history,
            clock,
            waiting,
            announce,
            head,
            reachable,
            alarm: Alarm::default(),
            tried: Instant::now(),
            payload_bytes_max: usize::MAX,
        }
    }

    /// Has entities refused that would not fit into a message of so many bytes.
    pub fn with_payload_max(mut self, bytes: usize) -> Self {
        self.payload_bytes_max = bytes;
        self
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
                () = sleep_until(self.tried + SETTLE_INTERVAL), if self.alarm.is_raised() => {
                    // Whoever waits for a write hears of it then.
                    let _ = self.settle().await;
                }
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
        self.reachable.store(seen.is_ok(), Ordering::Relaxed);
        if let Err(error) = seen {
            self.alarm.raise(&error.into_append_error(), "read");
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
        if self.alarm.is_raised()
            && let Err(error) = self.settle().await
        {
            return fail(batch, error, WriteError::Unavailable);
        }
        let (plan, appended) = self.append(&mut batch).await;
        let Err(error) = appended else {
            failpoint::hit("writer.appended");
            self.reachable.store(true, Ordering::Relaxed);
            self.publish(plan.last);
            failpoint::hit("writer.published");
            return answer(batch, plan.heads);
        };
        self.alarm.raise(&error, "written");
        let settled = self.settle().await;
        match (self.holds(&plan).await, settled) {
            // They are there although the answer was lost.
            (Ok(true), _) => answer(batch, plan.heads),
            (Ok(false), Ok(())) => fail(batch, error, WriteError::Unavailable),
            _ if error.fault().is_refusal() => fail(batch, error, WriteError::Unavailable),
            _ => fail(batch, error, WriteError::InDoubt),
        }
    }

    /// Finds out, after a failure, what the log holds and whether it takes writes again. While it
    /// does not, nothing is decided.
    async fn settle(&mut self) -> Result<(), AppendError> {
        self.tried = Instant::now();
        let log = self.history.log().clone();
        let settled = log.settle(self.head.tip()).await.map_err(AppendError::from);
        // What can be read is followed, whether or not the log takes writes.
        let seen = self.catch_up().await;
        self.reachable.store(seen.is_ok(), Ordering::Relaxed);
        let kept = match seen {
            Ok(()) => self.keeps_the_head().await,
            Err(error) => Err(error.into_append_error()),
        };
        let outcome = settled.and(kept);
        match &outcome {
            Ok(()) => self.alarm.end(),
            Err(error) => self.alarm.raise(error, "written"),
        }
        outcome
    }

    /// Checks that what was acknowledged is still there: a disk that failed may have lost it.
    async fn keeps_the_head(&self) -> Result<(), AppendError> {
        let (head, end) = (self.head.tip(), self.history.log().tip().await?);
        if end.seq > head.seq || end == head {
            return Ok(());
        }
        Err(AppendError::Lost { expected: head.seq, actual: end.seq })
    }

    /// Returns whether the log has the rows of a plan whose append failed.
    async fn holds(&self, plan: &Plan) -> Result<bool, AppendError> {
        let Some(last) = plan.rows.last() else { return Ok(false) };
        if self.head.seq < last.seq {
            return Ok(false);
        }
        let before = Seq(last.seq.0.saturating_sub(1));
        let found = self.history.log().read(before, 1).await?;
        Ok(found.first().is_some_and(|found| found.hash == last.hash))
    }

    /// Decides and appends until nobody else wrote first.
    async fn append(&mut self, batch: &mut [Box<dyn Job>]) -> (Plan, Result<(), AppendError>) {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let plan = self.decide(batch);
            failpoint::hit("writer.decided");
            let log = self.history.log();
            let appended = match plan.rows.as_slice() {
                // To answer that there is nothing to do is a promise too.
                [] => self.is_at_the_end().await,
                rows => log.append(self.head.tip(), rows).await,
            };
            match appended {
                // Whoever wrote first would have left more.
                Err(AppendError::Conflict { expected, actual }) if actual <= expected => {
                    return (plan, Err(AppendError::Lost { expected, actual }));
                }
                Err(AppendError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {
                    failpoint::hit("writer.conflict");
                    if let Err(error) = self.catch_up().await {
                        return (plan, Err(error.into_append_error()));
                    }
                }
                appended => return (plan, appended),
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
        if let Some(oversize) = Oversize::of(&after, &changes, self.payload_bytes_max) {
            return Err(WriteError::TooLarge(oversize));
        }
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

/// Gives each job of a batch its head.
fn answer(batch: Vec<Box<dyn Job>>, heads: Vec<Result<Arc<Head>, WriteError>>) {
    for (job, head) in batch.into_iter().zip(heads) {
        match head {
            Ok(head) => job.accept(head),
            Err(error) => job.fail(error),
        }
        failpoint::hit("writer.answered");
    }
}

fn fail(
    batch: Vec<Box<dyn Job>>,
    error: AppendError,
    told: impl Fn(Arc<AppendError>) -> WriteError,
) {
    let error = Arc::new(error);
    for job in batch {
        job.fail(told(error.clone()));
    }
}
