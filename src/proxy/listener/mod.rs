//! Serving clients: one thread, one runtime and one set of sockets per proxy core.
//!
//! Invariants:
//! - a connection lives and dies on the core that accepted it, so handlers need not be `Send`;
//! - cores share nothing but the counters, which each core alone writes;
//! - a request that tells its length twice (transfer-encoding and content-length) never reaches a
//!   handler.

mod bind;
mod body;
mod connection;
mod counters;
mod drain;
mod head_timer;
mod serve;
mod server;
mod sniff;
mod stream;

#[cfg(test)]
mod tests;

pub use bind::{BindError, ListenSpec};
pub use body::{FilteredBody, ProxyBody};
pub use connection::ConnectionInfo;
pub use counters::ConnectionCounts;
pub use serve::ServeLimits;
pub use server::ProxyServer;
