//! Pulling a snapshot node by node: what is missing, what came, and what it makes. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::node::{Body, Node, Parts, read_line};
use super::{Snapshot, VerifyError};
use crate::domain::catalog::Catalog;
use crate::domain::decide;
use crate::domain::entity::Entity;
use crate::domain::event::Change;
use crate::domain::hash::{ConfigHash, NodeHash};

/// A snapshot under assembly. Ask for [`Assembly::missing`], hand in with [`Assembly::feed`] in any
/// order, until nothing is missing; then [`Assembly::finish`].
pub struct Assembly {
    root: ConfigHash,
    base: Option<Snapshot>,
    known: HashMap<NodeHash, Arc<Node>>,
    received: HashMap<NodeHash, Received>,
    /// The nodes that have their place in the tree. Each has one: keys are in order.
    placed: HashSet<NodeHash>,
    /// The nodes to ask for, each with the level that it must have, if that is known.
    missing: BTreeMap<NodeHash, Option<u8>>,
}

enum Received {
    Leaf(Bytes),
    Inner(Vec<NodeHash>),
}

impl Assembly {
    /// Starts to assemble the snapshot `root`; nodes that `known` has are not asked for.
    pub fn new(root: ConfigHash, known: Option<&Snapshot>) -> Self {
        let nodes = known.into_iter().flat_map(|snapshot| snapshot.tree.nodes());
        let mut assembly = Self {
            root,
            base: known.cloned(),
            known: nodes.map(|node| (node.hash(), node)).collect(),
            received: HashMap::new(),
            placed: HashSet::from([NodeHash(root.0)]),
            missing: BTreeMap::new(),
        };
        let root = NodeHash(root.0);
        if !assembly.known.contains_key(&root) {
            assembly.missing.insert(root, None);
        }
        assembly
    }

    /// Returns which snapshot is being assembled.
    pub fn root(&self) -> ConfigHash {
        self.root
    }

    /// Returns the nodes to ask for now; their children may be missing later.
    pub fn missing(&self) -> Vec<NodeHash> {
        self.missing.keys().copied().collect()
    }

    /// Takes in the bytes of a node. One that came already is ignored.
    ///
    /// # Errors
    ///
    /// The bytes are not the node `hash`, not a node, or were not asked for. The assembly is as it
    /// was and the node still missing.
    pub fn feed(&mut self, hash: NodeHash, bytes: Bytes) -> Result<(), VerifyError> {
        if self.received.contains_key(&hash) {
            return Ok(());
        }
        let level = *self.missing.get(&hash).ok_or(VerifyError::UnexpectedNode(hash))?;
        if blake3::hash(&bytes).as_bytes() != &hash.0 {
            return Err(VerifyError::NodeMismatch(hash));
        }
        let received = match Parts::read(&bytes)? {
            Parts::Leaf(_) if level.is_none_or(|level| level == 0) => Received::Leaf(bytes),
            Parts::Inner(found, children) if level.is_none_or(|level| level == found) => {
                self.expect(&children, found - 1)?;
                Received::Inner(children)
            }
            _ => return Err(VerifyError::UnexpectedNode(hash)),
        };
        self.missing.remove(&hash);
        self.received.insert(hash, received);
        Ok(())
    }

    /// Notes which children must come.
    fn expect(&mut self, children: &[NodeHash], level: u8) -> Result<(), VerifyError> {
        let mut wanted = HashSet::new();
        for child in children {
            if self.placed.contains(child) || !wanted.insert(*child) {
                return Err(VerifyError::UnexpectedNode(*child));
            }
        }
        let absent = children.iter().filter(|child| !self.known.contains_key(child));
        self.missing.extend(absent.map(|child| (*child, Some(level))));
        self.placed.extend(wanted);
        Ok(())
    }

    /// Returns the snapshot once nothing is missing.
    ///
    /// # Errors
    ///
    /// Nodes are missing; a document is not valid under its schema or refers to nothing; the nodes
    /// are not the tree of the entities in them.
    pub fn finish(self, catalog: &Catalog) -> Result<Snapshot, VerifyError> {
        if !self.missing.is_empty() {
            return Err(VerifyError::Incomplete(self.missing.len()));
        }
        let entities = self.entities(catalog)?;
        if let Some(base) = &self.base {
            let changes = changes(base, &entities);
            return base.verify_delta(catalog, &changes, self.root);
        }
        let config = decide::assemble(catalog, entities).map_err(VerifyError::rejected)?;
        let snapshot = Snapshot::of(config);
        snapshot.expect(self.root)?;
        Ok(snapshot)
    }

    fn entities(&self, catalog: &Catalog) -> Result<Vec<Entity>, VerifyError> {
        let mut entities = Vec::new();
        let mut stack = vec![NodeHash(self.root.0)];
        while let Some(hash) = stack.pop() {
            match (self.received.get(&hash), self.known.get(&hash)) {
                (Some(Received::Inner(children)), _) => stack.extend(children.iter().rev()),
                (Some(Received::Leaf(bytes)), _) => {
                    if let Parts::Leaf(lines) = Parts::read(bytes)? {
                        for line in lines {
                            entities.push(read_line(catalog, line)?);
                        }
                    }
                }
                (None, Some(node)) => match node.body() {
                    Body::Leaf(known) => entities.extend_from_slice(known),
                    Body::Inner(children) => {
                        stack.extend(children.iter().rev().map(|child| child.hash()));
                    }
                },
                (None, None) => return Err(VerifyError::Incomplete(1)),
            }
        }
        Ok(entities)
    }
}

/// Returns the changes that lead from `base` to `entities`. If those are not in order, as only a
/// broken tree has them, the changes lead elsewhere and the root does not match.
fn changes(base: &Snapshot, entities: &[Entity]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut old = base.config.iter().peekable();
    for entity in entities {
        while let Some(gone) = old.next_if(|old| old.key() < entity.key()) {
            changes.push(Change::Deleted(gone.key()));
        }
        match old.next_if(|old| old.key() == entity.key()) {
            Some(same) if same == entity => {}
            _ => changes.push(Change::Upserted(entity.clone())),
        }
    }
    changes.extend(old.map(|gone| Change::Deleted(gone.key())));
    changes
}

#[cfg(test)]
mod tests;
