//! Plugins: one file each with schema and handler, and the table of all of them.
