//! Sessions of Kong's dialect as state machines without I/O (reference hybrid.md, sections 4.3 to
//! 4.5): frames and the time go in, what to do comes out.

pub mod inlet;
pub mod outlet;
#[cfg(test)]
mod simulation;

use std::time::Duration;

use super::introduction::IntroductionError;

/// When something is done, and when a peer is given up. All are settable so that tests need not
/// wait.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a data plane may take to introduce itself.
    pub introduction_max: Duration,
    /// How often a data plane pings.
    pub ping_interval: Duration,
    /// How long a control plane waits for a ping, and a data plane for any frame.
    pub silence_max: Duration,
    /// How long a data plane may take to read what it is sent.
    pub lag_max: Duration,
    /// The least time between two changes that are sent to one data plane (`db_update_frequency`).
    pub push_interval: Duration,
    /// How long a data plane may serve something else than it was sent before it is sent again;
    /// doubles each time.
    pub repeat_after: Duration,
    /// The same for one that serves nothing. One of Kong that starts for the first time loses what
    /// it is sent before its database is made, and would stay empty until the next change.
    pub repeat_first_after: Duration,
}

/// The longest pause before what a data plane did not take is sent again.
const REPEAT_MAX: Duration = Duration::from_secs(3600);

impl Timing {
    /// Returns how long a data plane may serve something else, or nothing, than it was sent, when
    /// that was sent again some times already.
    fn pause(&self, is_empty: bool, repeats: u32) -> Duration {
        let first = if is_empty { self.repeat_first_after } else { self.repeat_after };
        first.saturating_mul(2_u32.saturating_pow(repeats)).min(REPEAT_MAX)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            introduction_max: Duration::from_secs(5),
            ping_interval: Duration::from_secs(30),
            silence_max: Duration::from_secs(45),
            lag_max: Duration::from_secs(300),
            push_interval: Duration::from_secs(5),
            repeat_after: Duration::from_secs(60),
            repeat_first_after: Duration::from_secs(20),
        }
    }
}

/// Why a session ends, in Kong's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The first frame is no introduction.
    #[error(transparent)]
    Introduction(#[from] IntroductionError),
    /// The peer said goodbye.
    #[error("closed")]
    Closed,
    /// A ping holds something that cannot be a hash.
    #[error("received a ping frame from the data plane with an invalid hash: '{0}'")]
    InvalidHash(String),
    /// A data plane sent what only a control plane sends, or nonsense.
    #[error("invalid websocket frame received from data plane: {0}")]
    InvalidFrame(&'static str),
    /// No ping came for too long.
    #[error("did not receive ping frame from data plane within {0} seconds")]
    NoPing(u64),
    /// No frame came for too long.
    #[error("did not receive pong frame from control plane within {0} seconds")]
    NoPong(u64),
    /// The peer does not read what it is sent.
    #[error("data plane does not read what it is sent")]
    Lagging,
}
