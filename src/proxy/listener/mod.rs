//! Serving clients: one thread, one runtime and one set of sockets per proxy core.
//!
//! Invariants:
//! - a connection lives and dies on the core that accepted it, so handlers need not be `Send`;
//! - cores share nothing but the counters, which each core alone writes.

mod body;

pub use body::{FilteredBody, ProxyBody};
