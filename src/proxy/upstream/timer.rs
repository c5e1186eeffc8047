//! One timer per connection that is re-armed lazily: a step costs a comparison, not a wheel entry.

use std::cell::Cell;
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::turn;

/// A place for the timer of a task that waits again and again, now for one thing, now for another. A timer
/// that is used by the task that it would wake has nothing to note; one that went with each thing
/// would be noted anew for each.
#[derive(Default)]
pub struct TimerSlot(Cell<LazyTimer>);

impl TimerSlot {
    /// Takes the timer; a new one, if it is in use.
    pub(in crate::proxy) fn take(&self) -> LazyTimer {
        self.0.take()
    }

    /// Keeps a timer for the next use.
    pub(in crate::proxy) fn put(&self, timer: LazyTimer) {
        self.0.set(timer);
    }
}

impl fmt::Debug for TimerSlot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TimerSlot").finish_non_exhaustive()
    }
}

/// Bounds how long something may stay pending.
///
/// The timer wheel is touched only when no entry exists, when a deadline moves nearer, or when an
/// old entry fires: a connection with a 60 s limit pays that once a minute, not once a read.
#[derive(Debug, Default)]
pub(in crate::proxy) struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
    /// Whom the sleep wakes, and when: who asks again before that need not be noted again, nor is the sleep
    /// looked at, which lies elsewhere.
    asked: Option<(Waker, Instant)>,
}

impl LazyTimer {
    /// Forgets the deadline because progress was made.
    pub(in crate::proxy) fn clear(&mut self) {
        self.deadline = None;
    }

    /// Returns ready once `limit` has passed since the first poll after the last [`Self::clear`].
    pub(in crate::proxy) fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::from(turn::now()) + limit);
        self.poll_until(cx, deadline)
    }

    /// Returns ready once `deadline` has passed.
    pub(in crate::proxy) fn poll_until(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
    ) -> Poll<()> {
        if let Some((waker, when)) = &self.asked
            && waker.will_wake(cx.waker())
            && *when <= deadline
            && *when > Instant::from(turn::now())
        {
            return Poll::Pending;
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        self.asked = None;
        loop {
            // A task that has had its turn is put off, and nobody is noted.
            let is_noted = coop::has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                self.asked = is_noted.then(|| (cx.waker().clone(), sleep.deadline()));
                return Poll::Pending;
            }
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(60);
    /// A test that waits this long has failed.
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn fires(timer: &mut LazyTimer) {
        tokio::time::timeout(PATIENCE, poll_fn(|cx| timer.poll(cx, LIMIT))).await.unwrap();
    }

    #[tokio::test]
    async fn it_fires_once_the_limit_has_passed_since_the_last_progress() {
        let mut timer = LazyTimer::default();
        for _ in 0..3 {
            // Polled again and again, as other things wake the task.
            let _some = tokio::time::timeout(LIMIT / 2, poll_fn(|cx| timer.poll(cx, LIMIT))).await;
            timer.clear();
        }
        let progress = Instant::now();
        fires(&mut timer).await;
        assert!(progress.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn whoever_polled_last_is_woken() {
        let mut timer = LazyTimer::default();
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(timer.poll(&mut nobody, LIMIT).is_pending());
        fires(&mut timer).await;
    }

    #[tokio::test]
    async fn a_task_that_has_had_its_turn_is_woken_too() {
        let mut timer = LazyTimer::default();
        let mut is_spent = false;
        let spent = poll_fn(|cx| {
            while !is_spent && coop::has_budget_remaining() {
                if let Poll::Ready(turn) = coop::poll_proceed(cx) {
                    turn.made_progress();
                }
            }
            is_spent = true;
            timer.poll(cx, LIMIT)
        });
        tokio::time::timeout(PATIENCE, spent).await.unwrap();
    }

    #[tokio::test]
    async fn a_nearer_deadline_counts() {
        let mut timer = LazyTimer::default();
        let begun = Instant::now();
        let nearer = poll_fn(|cx| {
            assert!(timer.poll_until(cx, begun + 2 * PATIENCE).is_pending());
            timer.poll_until(cx, begun + LIMIT)
        });
        tokio::time::timeout(PATIENCE, nearer).await.unwrap();
    }
}
