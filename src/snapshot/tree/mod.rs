//! The content-defined hash tree: equal configs have equal roots, whatever their history.
//!
//! Entities in (kind, id) order are cut into leaves before each key whose blake3 hash begins with
//! five zero bits, about one key in 32. Leaves are cut into inner nodes before those whose first
//! key has five zero bits more, and so on up to one root. Where to cut depends on keys alone, so
//! one change touches one path, and a deletion undoes what the insertion did.

use std::sync::Arc;

use super::node::{Body, Node, cuts};
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Key};
use crate::domain::event::Change;
use crate::domain::hash::ConfigHash;

/// Above one change in this many entities a tree is built anew: cheaper than path by path.
const REBUILD_SHARE: usize = 8;

/// A persistent hash tree: a clone is one reference, and trees share what they have in common.
#[derive(Clone)]
pub struct Tree {
    root: Arc<Node>,
}

impl Tree {
    /// Builds the tree of a config.
    pub fn build(config: &Config) -> Self {
        let leaves = cut_leaf(config.iter().cloned().collect(), |_| true);
        Self::over(leaves)
    }

    /// Returns the tree of `after`, which `changes` made of this tree's config.
    pub fn apply(&self, after: &Config, changes: &[Change]) -> Self {
        if changes.len() > after.len() / REBUILD_SHARE + 1 {
            return Self::build(after);
        }
        let mut keys: Vec<_> = changes.iter().map(Change::key).collect();
        keys.sort_unstable();
        keys.dedup();
        // The config has the last word, also on a key that several changes speak about.
        let edits: Vec<_> = keys.into_iter().map(|key| (key, after.find(key))).collect();
        Self::over(edit(&self.root, &edits))
    }

    /// Returns the name of the config: the hash of its root, covering content only.
    pub fn root(&self) -> ConfigHash {
        ConfigHash(self.root.hash().0)
    }

    /// Returns the root as a node.
    pub fn root_node(&self) -> &Arc<Node> {
        &self.root
    }

    /// Returns all nodes, a parent before its children.
    pub fn nodes(&self) -> impl Iterator<Item = Arc<Node>> {
        let mut stack = vec![self.root.clone()];
        std::iter::from_fn(move || {
            let node = stack.pop()?;
            stack.extend(node.children().iter().rev().cloned());
            Some(node)
        })
    }

    /// Returns the nodes that `other` lacks, a parent before its children: what a store that has
    /// `other` must add.
    pub fn nodes_not_in(&self, other: &Self) -> Vec<Arc<Node>> {
        let mut missing = Vec::new();
        let mut stack = vec![&self.root];
        while let Some(node) = stack.pop() {
            if !other.contains(node) {
                missing.push(node.clone());
                stack.extend(node.children().iter().rev());
            }
        }
        missing
    }

    /// Returns the leaf that an entity is in, or would be in.
    pub fn leaf_of(&self, key: Key) -> &Arc<Node> {
        let mut node = &self.root;
        while let Some(next) = route(node.children(), key)
            && let Some(child) = node.children().get(next)
        {
            node = child;
        }
        node
    }

    /// Equal nodes have equal first keys and levels, so there is one place to look.
    fn contains(&self, wanted: &Node) -> bool {
        let mut node = &self.root;
        while node.level() > wanted.level() {
            let Some(next) = wanted.first().and_then(|key| route(node.children(), key)) else {
                return false;
            };
            let Some(child) = node.children().get(next) else { return false };
            node = child;
        }
        node.hash() == wanted.hash()
    }

    /// Puts levels above nodes of one level until there is one root.
    fn over(mut nodes: Vec<Arc<Node>>) -> Self {
        while nodes.len() > 1 {
            let level = nodes.first().map_or(0, |node| node.level()) + 1;
            nodes = cut_inner(level, nodes);
        }
        let mut root = nodes.pop().unwrap_or_else(|| Node::leaf(Vec::new()));
        // A root is the lowest level that has one node.
        while let [only] = root.children() {
            root = only.clone();
        }
        Self { root }
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tree({})", self.root())
    }
}

/// Cuts entities into leaves. Only those that `may_begin` a leaf are looked at: between the others
/// it is known that nothing is cut.
fn cut_leaf(entities: Vec<Entity>, may_begin: impl Fn(Key) -> bool) -> Vec<Arc<Node>> {
    let mut leaves = Vec::new();
    let mut run = Vec::new();
    for entity in entities {
        if !run.is_empty() && may_begin(entity.key()) && cuts(entity.key()) > 0 {
            leaves.push(Node::leaf(std::mem::take(&mut run)));
        }
        run.push(entity);
    }
    if !run.is_empty() {
        leaves.push(Node::leaf(run));
    }
    leaves
}

fn cut_inner(level: u8, children: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
    let mut nodes = Vec::new();
    let mut run = Vec::new();
    for child in children {
        if !run.is_empty() && child.begins(level) {
            nodes.push(Node::inner(level, std::mem::take(&mut run)));
        }
        run.push(child);
    }
    if !run.is_empty() {
        nodes.push(Node::inner(level, run));
    }
    nodes
}

/// Returns which of sibling nodes a key belongs to: the last that does not begin after it.
fn route(children: &[Arc<Node>], key: Key) -> Option<usize> {
    let after = children.partition_point(|child| child.first().is_some_and(|first| first <= key));
    (!children.is_empty()).then(|| after.saturating_sub(1))
}

/// Edits in key order: what stands at each key afterwards.
type Edits<'a> = [(Key, Option<&'a Entity>)];

/// Returns the nodes that stand in a node's place after edits, of the same level. The first of
/// them may begin with a key that nothing is cut at; the parent then joins it to the node before.
fn edit(node: &Arc<Node>, edits: &Edits<'_>) -> Vec<Arc<Node>> {
    if edits.is_empty() {
        return vec![node.clone()];
    }
    match node.body() {
        Body::Leaf(entities) => cut_leaf(edit_entities(entities, edits), |key| {
            // The first entity may no longer be the first.
            node.first() == Some(key) || edits.binary_search_by_key(&key, |(key, _)| *key).is_ok()
        }),
        Body::Inner(children) => cut_inner(node.level(), edit_children(children, edits)),
    }
}

fn edit_entities(entities: &[Entity], edits: &Edits<'_>) -> Vec<Entity> {
    let mut edited = Vec::with_capacity(entities.len() + edits.len());
    let mut rest = entities;
    for (key, entity) in edits {
        let at = rest.partition_point(|entity| entity.key() < *key);
        let (before, after) = rest.split_at(at);
        edited.extend_from_slice(before);
        edited.extend(entity.cloned());
        rest = match after {
            [first, tail @ ..] if first.key() == *key => tail,
            after => after,
        };
    }
    edited.extend_from_slice(rest);
    edited
}

fn edit_children(children: &[Arc<Node>], edits: &Edits<'_>) -> Vec<Arc<Node>> {
    let mut edited = Vec::with_capacity(children.len() + 1);
    let mut edits = edits;
    let mut rest = children.iter().peekable();
    while let Some(child) = rest.next() {
        let end = match rest.peek().and_then(|next| next.first()) {
            Some(next) => edits.partition_point(|(key, _)| *key < next),
            None => edits.len(),
        };
        let (mine, others) = edits.split_at(end);
        edits = others;
        for node in edit(child, mine) {
            push(&mut edited, node);
        }
    }
    edited
}

/// Adds a node to its siblings: as one more, or joined to the last where nothing is cut.
fn push(siblings: &mut Vec<Arc<Node>>, node: Arc<Node>) {
    let cut = node.first().is_none() || node.begins(node.level());
    match siblings.pop() {
        Some(last) if !cut => siblings.push(join(&last, &node)),
        last => siblings.extend(last.into_iter().chain([node])),
    }
}

fn join(left: &Node, right: &Node) -> Arc<Node> {
    match (left.body(), right.body()) {
        (Body::Leaf(left), Body::Leaf(right)) => {
            Node::leaf(left.iter().chain(right).cloned().collect())
        }
        _ => {
            let mut children = left.children().to_vec();
            right.children().iter().for_each(|child| push(&mut children, child.clone()));
            Node::inner(left.level(), children)
        }
    }
}

#[cfg(test)]
mod tests;
