//! What is said to data planes of 2.8, in tables.
