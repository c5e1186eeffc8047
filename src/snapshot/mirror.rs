//! What a mirror of snapshots holds, and where: a folder, or anything that serves files by HTTP.
//!
//! `nodes/{hash}` are nodes, immutable, shared by all snapshots that were ever put there;
//! `head.json` is the newest head with its signature, the only file that is written again. A node
//! is put there after its children and the head after all nodes, so that whatever is there is
//! whole, and a node that is there need not be looked into.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::head::SignedHead;
use super::node::Node;
use super::tree::Tree;
use super::{Snapshot, VerifyError};
use crate::domain::hash::NodeHash;

/// The name of the head's file.
pub const HEAD: &str = "head.json";

/// The newest head of a mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorHead {
    /// The head, signed by its cluster.
    pub head: SignedHead,
    /// The cluster's ed25519 key, in hex. Who reads it knows the key from elsewhere.
    pub public_key: String,
}

impl MirrorHead {
    /// Returns the content of the head's file.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a head is plain data").into()
    }

    /// Reads the content of the head's file; its signature is not looked at.
    ///
    /// # Errors
    ///
    /// It is not a head.
    pub fn decode(bytes: &[u8]) -> Result<Self, VerifyError> {
        serde_json::from_slice(bytes).map_err(|_| VerifyError::Malformed("not a signed head"))
    }
}

/// Returns where a node is.
pub fn node_path(hash: NodeHash) -> String {
    format!("nodes/{hash}")
}

/// What has to be put into a mirror for a snapshot: asks level by level what is there already, and
/// gives the rest in an order in which children go before their parents.
pub struct Upload {
    asking: Vec<Arc<Node>>,
    absent: BTreeMap<u8, Vec<Arc<Node>>>,
}

impl Upload {
    /// Begins at the root of a snapshot.
    pub fn new(snapshot: &Snapshot) -> Self {
        Self::of(snapshot.tree())
    }

    fn of(tree: &Tree) -> Self {
        Self { asking: vec![tree.root_node().clone()], absent: BTreeMap::new() }
    }

    /// Returns the nodes of which it must be known whether they are there.
    pub fn asking(&self) -> Vec<NodeHash> {
        self.asking.iter().map(|node| node.hash()).collect()
    }

    /// Takes in which of the nodes asked for are there; goes on to the children of the others.
    pub fn answer(&mut self, present: impl Fn(NodeHash) -> bool) {
        for node in std::mem::take(&mut self.asking) {
            if !present(node.hash()) {
                self.asking.extend(node.children().iter().cloned());
                self.absent.entry(node.level()).or_default().push(node);
            }
        }
    }

    /// Returns the nodes to put there: level by level, leaves first.
    pub fn levels(self) -> impl Iterator<Item = Vec<Arc<Node>>> {
        self.absent.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::Config;
    use crate::domain::event::Change;
    use crate::snapshot::samples::{catalog, service};
    use std::collections::HashSet;

    fn upload(snapshot: &Snapshot, there: &mut HashSet<NodeHash>) -> usize {
        let mut upload = Upload::new(snapshot);
        while !upload.asking().is_empty() {
            upload.answer(|hash| there.contains(&hash));
        }
        let mut put = 0;
        for node in upload.levels().flatten() {
            let children = node.children().iter();
            assert!(children.into_iter().all(|child| there.contains(&child.hash())), "too early");
            assert!(there.insert(node.hash()));
            put += 1;
        }
        put
    }

    #[test]
    fn children_go_first_and_what_is_there_is_left_alone() {
        let snapshot = Snapshot::of(Config::of(&catalog(), (0..2000).map(|n| service(n, "a"))));
        let mut there = HashSet::new();
        let all = snapshot.tree().nodes().count();
        assert!(all > 40);
        assert_eq!(upload(&snapshot, &mut there), all);
        assert_eq!(upload(&snapshot, &mut there), 0);
        let next = snapshot.apply(&catalog(), &[Change::Upserted(service(7, "b"))]);
        assert!((1..=4).contains(&upload(&next, &mut there)));
    }
}
