//! End-to-end tests: both planes in one process, real sockets, real mTLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod process;
