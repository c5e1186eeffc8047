//! Kong's dialect of the cluster link, `/v1/outlet`: data planes of Kong attach to our control
//! plane, and our data plane attaches to a control plane of Kong (reference hybrid.md, section 4).
//!
//! A data plane introduces itself by `basic_info`, then pings with the hash that it serves; the
//! control plane sends the whole configuration each time. [`session`] holds the rules without I/O,
//! [`serve`] and [`attach`] drive them.
//!
//! Invariants:
//! - a configuration of this dialect is signed by nobody: a data plane that has pinned a cluster
//!   takes one only where its operator said so;
//! - a data plane has at most one configuration under way, and the newest goes next;
//! - nothing but the six frame types of a WebSocket is read, and none is put together of parts.

pub mod attach;
pub mod compat;
pub mod dialect;
mod guest;
pub mod introduction;
mod payload;
pub mod serve;
pub mod session;
pub(super) mod stream;
pub mod table;
pub mod websocket;

/// Where Kong's control planes listen for its data planes.
pub const PATH: &str = "/v1/outlet";

/// How many characters of a hash this dialect has.
pub const HASH_LEN: usize = 32;
