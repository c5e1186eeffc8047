//! The append-only event log: one row an accepted write, chained by hash.
