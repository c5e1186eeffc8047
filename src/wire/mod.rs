//! The cluster link: heads, deltas and content by hash, over mTLS on the cluster listener.
//!
//! `/v1/hybrid` is a WebSocket of [`frame`]s; `/v1/snapshots/{hash}` and `/v1/nodes/{hash}` are
//! content, immutable and believed on its hash alone. The rules of a session are in [`session`],
//! without I/O; [`publish`] and [`follow`] drive them.
//!
//! Invariants:
//! - nothing is read from a peer before its certificate was checked;
//! - a slow peer costs one slot, never a growing queue;
//! - garbage ends its connection and nothing else.

mod address;
mod admit;
mod answer;
pub mod content;
pub mod follow;
pub mod frame;
mod gate;
pub mod journal;
pub mod kong;
mod made;
pub mod mirror;
mod native;
mod pause;
pub mod pin;
pub mod publish;
mod recent;
mod renewal;
pub mod session;
mod socket;
pub mod tunnel;
