//! Immutable snapshots, named by the blake3 hash of their content.
//!
//! A snapshot is one [`Config`], frozen, with the hash tree over it. Equal configs have equal
//! names on every machine: a rollback brings the old name back, and a data plane that kept it
//! need not fetch it. Which snapshot is in force at which log position is said by a
//! [`head`], and is not part of it.
//!
//! Invariants:
//! - the tree is the tree of the config: a [`Snapshot`] is only made by functions that see to it;
//! - what came from elsewhere is checked against the hash and against the schemas before it is one;
//! - nothing here knows of sockets, SQL, clocks or keys.

pub mod assembly;
#[cfg(test)]
mod damage;
pub mod file;
pub mod gzip;
pub mod head;
pub mod mirror;
pub mod node;
pub mod pack;
#[cfg(test)]
mod samples;
pub mod tree;
mod verify;

use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide;
use crate::domain::event::Change;
use crate::domain::hash::ConfigHash;

pub use verify::VerifyError;

use tree::Tree;

/// One config with its hash tree. A clone is cheap: both share their structure.
#[derive(Clone)]
pub struct Snapshot {
    config: Config,
    tree: Tree,
}

impl Snapshot {
    /// Freezes a config of this machine's own making.
    pub fn of(config: Config) -> Self {
        let tree = Tree::build(&config);
        Self { config, tree }
    }

    /// Returns the snapshot that changes of this machine's own making lead to.
    pub fn apply(&self, catalog: &Catalog, changes: &[Change]) -> Self {
        let mut config = self.config.clone();
        for change in changes {
            config.apply(catalog, change);
        }
        let tree = self.tree.apply(&config, changes);
        Self { config, tree }
    }

    /// Returns the snapshot `to` that received changes lead to.
    ///
    /// # Errors
    ///
    /// The changes lead elsewhere, or to a config that is not valid here.
    pub fn verify_delta(
        &self,
        catalog: &Catalog,
        changes: &[Change],
        to: ConfigHash,
    ) -> Result<Self, VerifyError> {
        let after = self.apply(catalog, changes);
        after.expect(to)?;
        decide::check_changes(catalog, &after.config, changes)
            .map_err(|(key, rejection)| VerifyError::rejected(vec![(key, rejection)]))?;
        Ok(after)
    }

    /// Returns the config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the hash tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the snapshot's name.
    pub fn hash(&self) -> ConfigHash {
        self.tree.root()
    }

    /// Checks that this is the snapshot that was promised.
    fn expect(&self, expected: ConfigHash) -> Result<(), VerifyError> {
        let actual = self.hash();
        if actual == expected {
            Ok(())
        } else {
            Err(VerifyError::RootMismatch { expected, actual })
        }
    }
}

impl Default for Snapshot {
    /// The snapshot of the empty config.
    fn default() -> Self {
        Self::of(Config::default())
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({}, {} entities)", self.hash().short(), self.config.len())
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}
