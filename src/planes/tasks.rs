//! The tasks of a plane: started together, told to stop together, waited for with a deadline.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long tasks may take to end once they are told.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// The tasks of one plane and the word that ends them.
pub(super) struct Tasks {
    set: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { set: JoinSet::new(), stop: watch::Sender::new(false) }
    }

    /// Returns a receiver that turns true when the plane stops.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(task);
    }

    /// Tells every task to end and waits for them; those that do not are dropped.
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WITHIN, all).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
    }
}
