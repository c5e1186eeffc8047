//! A radix trie over byte strings that finds every prefix of a text in one walk.

/// Lists of values under byte strings.
pub(super) struct Trie<T> {
    label: Box<[u8]>,
    values: Vec<T>,
    /// By first byte of the label.
    children: Vec<Self>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { label: Box::default(), values: Vec::new(), children: Vec::new() }
    }
}

impl<T> Trie<T> {
    /// Adds a value under a key.
    pub(super) fn insert(&mut self, key: &[u8], value: T) {
        let Some(first) = key.first() else { return self.values.push(value) };
        let place = self.children.binary_search_by_key(&Some(first), |child| child.label.first());
        match place {
            Err(place) => {
                let label = key.into();
                let leaf = Self { label, values: vec![value], children: Vec::new() };
                self.children.insert(place, leaf);
            }
            Ok(place) => {
                let Some(child) = self.children.get_mut(place) else { return };
                let shared = child.label.iter().zip(key).take_while(|(a, b)| a == b).count();
                if shared < child.label.len() {
                    child.split(shared);
                }
                child.insert(key.get(shared..).unwrap_or_default(), value);
            }
        }
    }

    /// Cuts the label after `at` bytes; what is here moves below.
    fn split(&mut self, at: usize) {
        let (head, tail) = self.label.split_at(at.min(self.label.len()));
        let (head, tail) = (head.into(), tail.into());
        let below = Self {
            label: tail,
            values: std::mem::take(&mut self.values),
            children: std::mem::take(&mut self.children),
        };
        self.label = head;
        self.children.push(below);
    }

    /// Calls back with the list of each key that `text` begins with and the length of the key.
    pub(super) fn walk(&self, text: &[u8], visit: &mut impl FnMut(&[T], usize)) {
        let mut node = self;
        let mut depth = 0;
        loop {
            if !node.values.is_empty() {
                visit(&node.values, depth);
            }
            let rest = text.get(depth..).unwrap_or_default();
            let Some(first) = rest.first() else { return };
            let child = node
                .children
                .binary_search_by_key(&Some(first), |child| child.label.first())
                .ok()
                .and_then(|place| node.children.get(place));
            let Some(child) = child.filter(|child| rest.starts_with(&child.label)) else { return };
            depth += child.label.len();
            node = child;
        }
    }

    /// Calls back with every list.
    pub(super) fn for_each_list(&mut self, visit: &mut impl FnMut(&mut Vec<T>)) {
        visit(&mut self.values);
        for child in &mut self.children {
            child.for_each_list(visit);
        }
    }
}
