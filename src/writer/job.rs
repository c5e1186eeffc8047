//! Waiting writes, with the types of their answers hidden from the task.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Head, Precondition, WriteError};
use crate::domain::config::Config;
use crate::domain::decide::Fresh;
use crate::domain::event::{Change, Origin};
use crate::domain::hash::ConfigHash;
use crate::domain::rejection::Rejection;

/// One waiting write.
pub(super) trait Job: Send {
    /// Returns whether the write may be decided on the config of this name.
    fn admits(&self, config_hash: ConfigHash) -> bool;

    /// Decides on a config and keeps the decision; returns the changes unless it is a refusal.
    fn decide(&mut self, config: &Config, fresh: &mut Fresh<'_>) -> Vec<Change>;

    /// Returns who asks.
    fn origin(&self) -> &Origin;

    /// Returns whether it may take away as much as it wants.
    fn is_forced(&self) -> bool;

    /// Returns the config that the changes must lead to, if that is known beforehand.
    fn expected(&self) -> Option<ConfigHash>;

    /// Gives the last decision to the caller, with the head that it led to.
    fn accept(self: Box<Self>, head: Arc<Head>);

    /// Tells the caller that the write did not happen.
    fn fail(self: Box<Self>, error: WriteError);
}

/// What goes back to the caller.
pub(super) enum Reply<T> {
    /// The write's outcome.
    Answer(Result<(T, Arc<Head>), WriteError>),
    /// `decide` panicked.
    Panicked(Box<dyn Any + Send>),
}

enum Decision<T> {
    Accepted(T),
    Rejected(Rejection),
    Panicked(Box<dyn Any + Send>),
}

/// Under which terms a write happens.
pub(super) struct Terms {
    pub(super) precondition: Precondition,
    /// Whether it may take away as much as it wants.
    pub(super) forced: bool,
    /// The config that it must lead to, if that is known beforehand.
    pub(super) expected: Option<ConfigHash>,
}

/// A write of one caller.
pub(super) struct Pending<T, F> {
    origin: Origin,
    terms: Terms,
    decide: F,
    decision: Option<Decision<T>>,
    reply: oneshot::Sender<Reply<T>>,
}

impl<T, F> Pending<T, F> {
    pub(super) fn new(
        origin: Origin,
        terms: Terms,
        decide: F,
        reply: oneshot::Sender<Reply<T>>,
    ) -> Self {
        Self { origin, terms, decide, decision: None, reply }
    }
}

impl<T, F> Job for Pending<T, F>
where
    T: Send,
    F: FnMut(&Config, &mut Fresh<'_>) -> Result<(Vec<Change>, T), Rejection> + Send,
{
    fn admits(&self, config_hash: ConfigHash) -> bool {
        self.terms.precondition.admits(config_hash)
    }

    fn decide(&mut self, config: &Config, fresh: &mut Fresh<'_>) -> Vec<Change> {
        let decide = AssertUnwindSafe(|| (self.decide)(config, fresh));
        let (changes, decision) = match catch_unwind(decide) {
            Ok(Ok((changes, value))) => (changes, Decision::Accepted(value)),
            Ok(Err(rejection)) => (Vec::new(), Decision::Rejected(rejection)),
            Err(payload) => (Vec::new(), Decision::Panicked(payload)),
        };
        self.decision = Some(decision);
        changes
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn is_forced(&self) -> bool {
        self.terms.forced
    }

    fn expected(&self) -> Option<ConfigHash> {
        self.terms.expected.filter(|_| matches!(self.decision, Some(Decision::Accepted(_))))
    }

    fn accept(self: Box<Self>, head: Arc<Head>) {
        let reply = match self.decision {
            Some(Decision::Accepted(value)) => Reply::Answer(Ok((value, head))),
            Some(Decision::Rejected(why)) => Reply::Answer(Err(WriteError::Rejected(why))),
            Some(Decision::Panicked(payload)) => Reply::Panicked(payload),
            None => Reply::Answer(Err(WriteError::ShuttingDown)),
        };
        // The caller may have gone away.
        let _ = self.reply.send(reply);
    }

    fn fail(self: Box<Self>, error: WriteError) {
        let _ = self.reply.send(Reply::Answer(Err(error)));
    }
}
