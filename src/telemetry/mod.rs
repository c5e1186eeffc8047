//! Structured logs, and the names of every metric and log field.
