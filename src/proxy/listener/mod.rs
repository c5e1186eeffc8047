//! Serving clients: one thread, one runtime and one set of sockets per proxy core.
//!
//! Invariants:
//! - a connection lives and dies on the core that accepted it, so handlers need not be `Send`;
//! - cores share nothing but the counters, which each core alone writes;
//! - a request that two readers could read differently never reaches a handler ([`http1`], [`http2`]).

mod accept;
mod additions;
mod bind;
mod body;
mod connection;
mod cores;
mod counters;
mod drain;
pub(in crate::proxy) mod flags;
mod http1;
mod http2;
pub mod proxy_protocol;
mod refusal;
mod request;
mod response;
mod serve;
mod server;
mod stream;

#[cfg(test)]
mod tests;

pub(in crate::proxy) use accept::accept_until;
pub use additions::Additions;
pub use bind::{BindError, ListenSpec};
pub use body::{FilteredBody, ProxyBody};
pub use connection::ConnectionInfo;
pub(in crate::proxy) use cores::Cores;
pub use counters::ConnectionCounts;
pub(in crate::proxy) use counters::Counter;
pub use http1::{WholeRequest, read_whole};
pub use http2::Dialogue;
pub use refusal::{Refusals, Refused};
pub use request::{ClientBody, ClientRequest};
pub(in crate::proxy) use request::{ClientBodyError, UpgradedClient};
pub use response::ClientResponse;
pub use serve::ServeLimits;
pub use server::{Ending, ProxyServer};
pub(in crate::proxy) use server::{after, next_order};
