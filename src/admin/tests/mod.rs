//! The Admin API as clients see it, each test on a log of its own.

mod app;
mod auth;
mod batch;
mod beyond;
mod bodies;
mod clients;
mod cors;
mod database_off;
mod errors;
mod guard;
mod history;
mod info;
mod kinds;
mod lists;
mod node;
mod paths;
mod schemas;
mod sockets;
mod verbs;
mod writes;
