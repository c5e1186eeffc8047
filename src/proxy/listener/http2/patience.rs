//! What a client may do that costs it little and others much, before its connection ends.

use std::time::Duration;

use tokio::time::Instant;

use super::frame::{Code, Fault};

/// How many more requests a client may give up before their answers than it lets be answered: each
/// has cost an upstream something ("rapid reset").
const GIVEN_UP_MAX: u32 = 200;

/// How many more streams a client may break, so that we reset them, than it lets be answered.
const BROKEN_MAX: u32 = 100;

/// How many frames that carry nothing may come within [`EMPTY_SPAN`] and without one that does.
const EMPTY_MAX: u32 = 10_000;
const EMPTY_SPAN: Duration = Duration::from_secs(60);

/// How many frames one header block may be spread over.
pub(super) const CONTINUATIONS_MAX: u32 = 32;

/// What was counted on a connection.
#[derive(Debug, Default)]
pub(super) struct Patience {
    given_up: u32,
    broken: u32,
    empty: u32,
    empty_since: Option<Instant>,
}

impl Patience {
    /// Counts a request that got its answer.
    pub(super) fn answered(&mut self) {
        self.given_up = self.given_up.saturating_sub(1);
        self.broken = self.broken.saturating_sub(1);
    }

    /// Counts a request that was given up before its answer.
    pub(super) fn given_up(&mut self) -> Result<(), Fault> {
        self.given_up += 1;
        end_beyond(self.given_up, GIVEN_UP_MAX)
    }

    /// Counts a stream that we had to reset.
    pub(super) fn broken(&mut self) -> Result<(), Fault> {
        self.broken += 1;
        end_beyond(self.broken, BROKEN_MAX)
    }

    /// Counts a frame that carries nothing of a message.
    pub(super) fn empty(&mut self) -> Result<(), Fault> {
        self.empty += 1;
        if self.empty <= EMPTY_MAX {
            return Ok(());
        }
        // The clock is asked rarely: whoever pings for a day may have sent as many, too.
        let now = Instant::now();
        let since = self.empty_since.replace(now);
        self.empty = 0;
        let is_flood = since.is_none_or(|since| now - since < EMPTY_SPAN);
        if is_flood { Err(Fault::Connection(Code::Calm)) } else { Ok(()) }
    }

    /// Takes note of a frame that carries something.
    pub(super) fn useful(&mut self) {
        self.empty = 0;
    }
}

fn end_beyond(count: u32, max: u32) -> Result<(), Fault> {
    if count > max { Err(Fault::Connection(Code::Calm)) } else { Ok(()) }
}
