//! One timer per connection that is re-armed lazily: a step costs a comparison, not a wheel entry.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Bounds how long something may stay pending.
///
/// The timer wheel is touched only when no entry exists, when a deadline moves nearer, or when an
/// old entry fires: a connection with a 60 s limit pays that once a minute, not once a read.
#[derive(Debug, Default)]
pub(in crate::proxy) struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
}

impl LazyTimer {
    /// Forgets the deadline because progress was made.
    pub(in crate::proxy) fn clear(&mut self) {
        self.deadline = None;
    }

    /// Returns ready once `limit` has passed since the first poll after the last [`Self::clear`].
    pub(in crate::proxy) fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
        self.poll_until(cx, deadline)
    }

    /// Returns ready once `deadline` has passed.
    pub(in crate::proxy) fn poll_until(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
    ) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
