//! The Admin API as clients see it, each test on a log of its own.

mod app;
mod batch;
mod beyond;
mod history;
mod lists;
mod node;
mod sockets;
mod verbs;
