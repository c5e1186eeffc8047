//! hyper's timer for request heads, on one wheel entry a connection.
//!
//! hyper makes a sleep for every request and drops it when the head is there. Here such a sleep is a
//! deadline only, and the connection's one timer is touched when a deadline really comes near.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::proxy::upstream::timer::LazyTimer;

/// The timer of one connection. hyper asks for sleeps that may be sent to other threads; none ever
/// is, so the lock is never contended.
#[derive(Clone, Default)]
pub(super) struct HeadTimer(Arc<Mutex<LazyTimer>>);

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadSleep { timer: self.clone(), deadline })
    }
}

struct HeadSleep {
    timer: HeadTimer,
    deadline: Instant,
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        timer.poll_until(cx, self.deadline.into())
    }
}

impl Sleep for HeadSleep {}
