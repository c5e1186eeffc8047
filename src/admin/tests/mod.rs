//! The Admin API as clients see it, each test on a log of its own.

mod app;
mod kinds;
mod lists;
mod node;
mod schemas;
mod sockets;
mod verbs;
