//! The Admin API as clients see it, each test on a log of its own.

mod app;
mod database_off;
mod info;
mod lists;
mod node;
mod sockets;
mod verbs;
