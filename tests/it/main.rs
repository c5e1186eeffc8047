//! End-to-end tests: both planes in one process, real sockets, real mTLS.

mod log_contract;
