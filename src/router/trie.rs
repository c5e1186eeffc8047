//! A persistent radix trie over byte strings that finds every prefix of a text in one walk.
//!
//! A clone shares all nodes; a change copies those on the way to what it changes.

use std::sync::Arc;

/// Values under byte strings.
#[derive(Clone)]
pub(super) struct Trie<T> {
    root: Node<T>,
}

#[derive(Clone)]
struct Node<T> {
    label: Box<[u8]>,
    value: Option<Arc<T>>,
    /// The first byte of the label of each child, ascending.
    firsts: Vec<u8>,
    children: Vec<Arc<Self>>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { root: Node::new(&[]) }
    }
}

impl<T> Node<T> {
    fn new(label: &[u8]) -> Self {
        Self { label: label.into(), value: None, firsts: Vec::new(), children: Vec::new() }
    }

    fn child(&self, first: u8) -> Option<&Arc<Self>> {
        let place = self.firsts.binary_search(&first).ok()?;
        self.children.get(place)
    }

    fn shared(&self, key: &[u8]) -> usize {
        self.label.iter().zip(key).take_while(|(a, b)| a == b).count()
    }

    /// Cuts the label after `at` bytes; what is here moves below.
    fn split(&mut self, at: usize) {
        let (head, tail) = self.label.split_at(at.min(self.label.len()));
        let (head, mut below) = (Box::from(head), Self::new(tail));
        below.value = self.value.take();
        below.firsts = std::mem::take(&mut self.firsts);
        below.children = std::mem::take(&mut self.children);
        self.label = head;
        self.firsts.extend(below.label.first());
        self.children.push(Arc::new(below));
    }
}

impl<T> Drop for Node<T> {
    /// Takes the nodes below apart one by one: prefixes of prefixes may nest deeper than a stack.
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.children);
        while let Some(child) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(child) {
                pending.append(&mut node.children);
            }
        }
    }
}

impl<T: Clone + Default> Trie<T> {
    /// Returns what is under a key, which is made if it is not there.
    pub(super) fn entry(&mut self, key: &[u8]) -> &mut T {
        let mut node = &mut self.root;
        let mut rest = key;
        while let Some(first) = rest.first() {
            let place = match node.firsts.binary_search(first) {
                Ok(place) => place,
                Err(place) => {
                    node.firsts.insert(place, *first);
                    node.children.insert(place, Arc::new(Node::new(rest)));
                    place
                }
            };
            let child = Arc::make_mut(&mut node.children[place]);
            let shared = child.shared(rest);
            if shared < child.label.len() {
                child.split(shared);
            }
            rest = rest.get(shared..).unwrap_or_default();
            node = child;
        }
        Arc::make_mut(node.value.get_or_insert_default())
    }

    /// Removes what is under a key.
    pub(super) fn remove(&mut self, key: &[u8]) {
        // The child of this node at this depth is the first that nothing else needs.
        let (mut depth, mut cut) = (0, None);
        let mut node = &self.root;
        while let Some(first) = key.get(depth) {
            let Some(child) = node.child(*first) else { return };
            if !key.get(depth..).is_some_and(|rest| rest.starts_with(&child.label)) {
                return;
            }
            if cut.is_none() || node.value.is_some() || node.children.len() > 1 {
                cut = Some(depth);
            }
            depth += child.label.len();
            node = child;
        }
        let needed = !node.children.is_empty();
        let end = if needed { key.len() } else { cut.unwrap_or(key.len()) };
        let (mut depth, mut node) = (0, &mut self.root);
        while depth < end {
            let place = key.get(depth).and_then(|first| node.firsts.binary_search(first).ok());
            let Some(child) = place.and_then(|place| node.children.get_mut(place)) else { return };
            node = Arc::make_mut(child);
            depth += node.label.len();
        }
        match key.get(end).and_then(|first| node.firsts.binary_search(first).ok()) {
            Some(place) => {
                node.firsts.remove(place);
                node.children.remove(place);
            }
            None => node.value = None,
        }
    }
}

impl<T> Trie<T> {
    /// Calls back with what is under each key that `text` begins with and the length of the key.
    pub(super) fn walk<'t>(&'t self, text: &[u8], visit: &mut impl FnMut(&'t T, usize)) {
        let mut node = &self.root;
        let mut depth = 0;
        loop {
            if let Some(value) = &node.value {
                visit(value, depth);
            }
            let rest = text.get(depth..).unwrap_or_default();
            let child = rest.first().and_then(|first| node.child(*first));
            let Some(child) = child.filter(|child| rest.starts_with(&child.label)) else { return };
            depth += child.label.len();
            node = child;
        }
    }

    /// Returns whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.root.value.is_none() && self.root.children.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    fn found(trie: &Trie<u32>, text: &str) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        trie.walk(text.as_bytes(), &mut |value, depth| found.push((depth, *value)));
        found
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            steps in prop::collection::vec(("[ab]{0,5}", 0_u32..4), 0..60),
            texts in prop::collection::vec("[ab]{0,7}", 1..8),
        ) {
            let (mut trie, mut map) = (Trie::<u32>::default(), BTreeMap::new());
            let mut kept: Vec<(Trie<u32>, BTreeMap<String, u32>)> = Vec::new();
            for (key, value) in steps {
                if value == 0 {
                    trie.remove(key.as_bytes());
                    map.remove(&key);
                } else {
                    *trie.entry(key.as_bytes()) = value;
                    map.insert(key, value);
                }
                kept.push((trie.clone(), map.clone()));
            }
            for (trie, map) in kept {
                prop_assert_eq!(trie.is_empty(), map.is_empty());
                for text in &texts {
                    let wanted: Vec<_> = map
                        .iter()
                        .filter(|(key, _)| text.starts_with(key.as_str()))
                        .map(|(key, value)| (key.len(), *value))
                        .collect();
                    prop_assert_eq!(found(&trie, text), wanted);
                }
            }
        }
    }

    #[test]
    fn prefixes_of_prefixes_may_nest_deep() {
        let mut trie = Trie::<u32>::default();
        let text = "a".repeat(20_000);
        for length in (1..text.len()).step_by(2) {
            *trie.entry(&text.as_bytes()[..length]) = 1;
        }
        assert_eq!(found(&trie, &text).len(), 10_000);
        drop(trie);
    }
}
