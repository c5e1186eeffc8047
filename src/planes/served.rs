//! What a data plane serves: the runtime in force, the snapshot behind it, and following a writer
//! of the same process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::event::Seq;
use crate::runtime::{self, CompileError, Handle, Runtime, Tools};
use crate::snapshot::Snapshot;
use crate::writer::Head;

/// The runtime in force and the snapshot that it was compiled of; clones share both.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) handle: Handle,
    pub(super) snapshot: Arc<watch::Sender<Arc<Snapshot>>>,
    /// Whether there was a config, be it an empty one.
    has_config: Arc<AtomicBool>,
    /// Held while one is compiled: each is made of the one before.
    turn: Arc<Mutex<()>>,
}

impl Served {
    /// Starts with nothing.
    pub(super) fn nothing() -> Self {
        let snapshot = Arc::new(Snapshot::default());
        let handle = Handle::new(Arc::new(Runtime::empty(snapshot.hash())));
        let snapshot = Arc::new(watch::Sender::new(snapshot));
        Self { handle, snapshot, has_config: Arc::default(), turn: Arc::default() }
    }

    /// Returns whether there is a config, be it an empty one.
    pub(super) fn has_config(&self) -> bool {
        self.has_config.load(Ordering::Relaxed)
    }

    /// What is served is what somebody wants to be served.
    pub(super) fn confirm(&self) {
        self.has_config.store(true, Ordering::Relaxed);
    }

    /// Compiles a snapshot and puts it in force.
    pub(super) fn serve(
        &self,
        snapshot: &Arc<Snapshot>,
        tools: &Tools,
    ) -> Result<(), CompileError> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        runtime::apply(&self.handle, snapshot.config(), snapshot.hash(), tools)?;
        self.snapshot.send_replace(snapshot.clone());
        drop(turn);
        self.confirm();
        Ok(())
    }

    /// Compiles what is served once more, with tools that have changed.
    pub(super) fn renew(&self, tools: &Tools) -> Result<(), CompileError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot.borrow().clone();
        runtime::apply(&self.handle, snapshot.config(), snapshot.hash(), tools)
    }
}

/// Serves what the writer of this process announces.
pub(super) async fn serve_heads(
    served: Served,
    mut heads: watch::Receiver<Arc<Head>>,
    tools: Tools,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let head = heads.borrow_and_update().clone();
        let (target, tools) = (served.clone(), tools.clone());
        let done = tokio::task::spawn_blocking(move || serve_head(&target, &head, &tools)).await;
        if let Err(error) = done {
            tracing::error!(%error, "a configuration could not be compiled");
        }
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

pub(super) fn serve_head(served: &Served, head: &Head, tools: &Tools) {
    if served.handle.load().config_hash == head.config_hash {
        // Position 0 is the log before anything was written.
        if head.seq > Seq(0) {
            served.confirm();
        }
        return;
    }
    if let Err(error) = served.serve(&head.snapshot, tools) {
        tracing::error!(config_hash = %head.config_hash, %error, "the configuration is not served");
    }
}
