//! Streams: TCP connections, TLS that ends here or passes through, and UDP sessions
//! (reference gateway-3, section D.5).
//!
//! Cores of their own beside those of HTTP, one thread and one set of sockets each, which are there
//! only when `stream_listen` asks for them.
//!
//! Invariants:
//! - a session keeps the route and service that it began with, and nothing else of the runtime: one
//!   that lives for days keeps no old config in memory;
//! - not a byte of what passes through is changed or lost, nor held back for the next one;
//! - a session that is silent holds no buffer;
//! - what one client may cost is bounded: its hello in bytes and time, UDP sessions in number.

mod access;
mod bind;
mod core;
mod hello;
mod peer;
mod server;
mod session;
mod settings;
mod tcp;
mod udp;

pub use bind::{StreamSocket, StreamSpec};
pub use server::{StreamCounts, StreamServer};
pub use settings::StreamSettings;
