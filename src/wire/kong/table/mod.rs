//! A config as Kong sends it to its data planes, the `reconfigure` message: [`export`] writes it,
//! [`import`] reads it (reference hybrid.md, sections 4.2, 6.5 and 8.3).
//!
//! Invariants:
//! - what is read is checked against the schemas of this node, whole, before it is a snapshot;
//! - exporting and importing leads to the same entities, but for disabled ones, which are left out.

pub mod export;
pub mod import;
mod left;
mod pretty;
#[cfg(test)]
mod tests;

use crate::domain::hash::ConfigHash;

pub(in crate::wire::kong) use left::Left;

/// The name of what is not there: no config, or no entities of a kind.
pub const ZERO_HASH: &str = "00000000000000000000000000000000";

/// Returns the name that a config has on this dialect: the first half of ours.
pub fn config_hash(hash: ConfigHash) -> String {
    let mut text = hash.to_hex();
    text.truncate(ZERO_HASH.len());
    text
}
