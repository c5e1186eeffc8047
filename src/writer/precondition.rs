//! Preconditions: the configs that a write may be decided on.

use crate::domain::hash::ConfigHash;

/// Which configs a write may be decided on. The writer looks when it decides, so nothing can come
/// between the look and the write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Any.
    #[default]
    Any,
    /// One of these.
    OneOf(Vec<ConfigHash>),
}

impl Precondition {
    /// Returns whether a write may be decided on the config of this name.
    pub fn admits(&self, config_hash: ConfigHash) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(hashes) => hashes.contains(&config_hash),
        }
    }
}
