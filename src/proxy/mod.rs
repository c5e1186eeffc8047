//! The data path: listeners, phases, upstream connections, replies.
