//! Writers on real logs: batches, conflicts, cancelled callers, failing storage.
