//! End-to-end tests: both planes in one process, real sockets, real mTLS; and the tests that
//! hold the rules of the source itself.

mod layers;
mod source;
mod tidy;
