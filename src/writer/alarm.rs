//! The alarm of a log that fails: told of once when it begins, and once when it is over.

use std::collections::BTreeSet;

use crate::log::AppendError;
use crate::log::fault::Fault;

/// What has gone wrong since the log was in order.
#[derive(Debug, Default)]
pub(super) struct Alarm(BTreeSet<Fault>);

impl Alarm {
    /// Returns whether the log failed and nobody knows yet that it is in order again.
    pub(super) fn is_raised(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes a failure in; the first of each sort is logged.
    pub(super) fn raise(&mut self, error: &AppendError, done: &str) {
        let fault = error.fault();
        if self.0.insert(fault) {
            tracing::error!(
                ?error,
                "the event log cannot be {done}: {fault}; writes are refused until it can, reads \
                 and data planes go on"
            );
        }
    }

    /// Ends it.
    pub(super) fn end(&mut self) {
        if !std::mem::take(&mut self.0).is_empty() {
            tracing::info!("the event log can be read and written again");
        }
    }
}
