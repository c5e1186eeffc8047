//! The client towards upstreams, made for one proxy core: HTTP/1.1 of our own, and HTTP/2 for gRPC.
//!
//! Everything of an HTTP/1.1 connection runs inside the request that uses it: no task, no channel
//! and no lock per connection, and headers go to the wire without a map between.
//!
//! Invariants:
//! - a connection returns to the pool only after a whole, well-framed response and a wholly sent
//!   request, with no byte left over;
//! - one request costs at most two sends and two receives when nothing is split by the network;
//! - no byte of an upstream can panic this module.
//!
//! Non-goals: name resolution, choice of peers.

mod body;
mod connection;
mod error;
mod exchange;
mod head;
mod http2;
mod outgoing;
mod peer;
mod pool;
mod request;
mod response;
mod splice;
mod stream;
pub(super) mod timer;

#[cfg(test)]
mod tests;

pub use body::UpstreamBody;
pub(in crate::proxy) use connection::connect;
pub use error::{BoxError, Step, UpstreamError, UpstreamErrorKind};
pub use head::UpstreamHead;
pub(in crate::proxy) use head::push_last_chunk;
pub use peer::{PeerAddress, PeerTls, PoolLimits, Timeouts};
pub use pool::{Pool, UpstreamResponse};
pub use request::RequestBody;
pub(in crate::proxy) use splice::{Buffers, Moved, splice};
pub(in crate::proxy) use stream::Stream;
pub use timer::TimerSlot;
