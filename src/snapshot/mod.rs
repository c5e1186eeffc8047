//! Immutable snapshots, named by the blake3 hash of their content.
