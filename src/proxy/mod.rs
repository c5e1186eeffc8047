//! The data path: listeners, phases, upstream connections, replies.

pub mod listener;
pub mod upstream;
