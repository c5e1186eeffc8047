//! The status API of every role.
