//! Sessions as state machines without I/O: what came in goes in, what to do comes out.
//!
//! The drivers in `publish` and `follow` own sockets and timers; tests drive the same machines
//! through lost, doubled, reordered and cut-off frames.

pub mod compared;
pub mod follower;
pub mod publisher;

use uuid::Uuid;

/// Why a session ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The peer sent something that is no frame, or out of order.
    #[error("protocol violation: {0}")]
    Violation(String),
    /// The peer speaks another version of the dialect.
    #[error("peer speaks protocol {theirs}, we speak {ours}")]
    Protocol {
        /// The peer's version.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The peer belongs to another cluster than the one pinned, or has another key.
    #[error(
        "control plane belongs to another cluster ({theirs}) than this data plane ({ours}), which \
         goes on with what it has; if the move is meant, remove cluster.pin and config.json.gz \
         from its prefix and restart it"
    )]
    ForeignCluster {
        /// The peer's cluster.
        theirs: Uuid,
        /// Ours.
        ours: Uuid,
    },
    /// The peer's level of Kong is none that this control plane serves.
    #[error("{0}")]
    Incompatible(String),
    /// Nothing was heard of the peer for too long.
    #[error("peer has been silent for too long")]
    Silent,
    /// The peer does not take what it is sent.
    #[error("peer has not caught up for too long")]
    Lagging,
}
