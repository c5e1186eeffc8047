//! The Admin API and the status API over HTTP.
