//! The cores of a server while they end, of HTTP and of streams.

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// What tells of each core that it has ended.
#[derive(Debug)]
pub(in crate::proxy) struct Cores(Vec<oneshot::Receiver<()>>);

impl Cores {
    pub(in crate::proxy) fn new(cores: Vec<oneshot::Receiver<()>>) -> Self {
        Self(cores)
    }

    /// Returns when every core has ended.
    pub(in crate::proxy) async fn ended(&mut self) {
        while let Some(core) = self.0.last_mut() {
            // A core that panicked has ended too.
            let _ended = core.await;
            self.0.pop();
        }
    }

    /// Returns whether every core has ended.
    pub(in crate::proxy) fn have_ended(&mut self) -> bool {
        self.0.retain_mut(|core| matches!(core.try_recv(), Err(TryRecvError::Empty)));
        self.0.is_empty()
    }
}
