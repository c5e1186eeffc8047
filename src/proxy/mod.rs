//! The data path: listeners, phases, upstream connections, replies.
//!
//! Invariants:
//! - everything of a request happens on the core that accepted its connection, without a lock;
//! - a request keeps the runtime that it began with, to its last log line;
//! - a request is tried again only where that cannot do its work twice;
//! - input of a client or upstream never reaches a panic.

pub mod access;
mod ahead;
pub mod charset;
mod chunk;
pub mod debug;
mod failure;
pub mod forward;
pub mod handler;
mod headers;
mod ids;
pub mod listener;
mod outbox;
mod received;
mod reply;
pub mod settings;
mod shelf;
pub mod stream;
mod tail;
pub mod template;
mod tries;
pub mod upstream;
