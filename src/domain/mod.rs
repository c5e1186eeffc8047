//! Entities, schemas, changes and the configuration they make: pure, without I/O.
//!
//! Invariants:
//! - no clock, randomness, I/O or async: what is needed of them comes in as a value;
//! - an [`entity::Entity`] holds canonical bytes, so equal documents are equal bytes;
//! - a [`config::Config`] only changes by [`config::Config::apply`], and every event leaves it
//!   complete: unique values are unique, references resolve;
//! - kinds are data: a new one is a file in `kinds/` (or a plugin's) and a line in a table.

pub mod bisect;
pub mod canonical;
pub mod catalog;
pub mod config;
pub mod decide;
pub mod declarative;
pub mod difference;
pub mod entity;
pub mod event;
pub mod fresh;
pub mod hash;
pub mod kinds;
pub mod lifetime;
mod lua;
pub mod pem;
pub mod rejection;
pub mod role;
pub mod schema;
pub mod shrink;
pub mod view;
