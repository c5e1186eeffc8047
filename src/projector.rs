//! Stores the snapshot of the newest head, so that a start need not replay the log.
