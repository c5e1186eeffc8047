//! End-to-end tests: both planes in one process, real sockets, real mTLS.

fn main() {}
