//! Over real sockets: serving, limits, drain.
