//! Entities, schemas, changes and the configuration they make: pure, without I/O.
