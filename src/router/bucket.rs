//! The candidates of one host: a trie of prefixes with the patterns at what they begin with, and the
//! rest.

use std::cmp::Reverse;
use std::sync::Arc;

use super::RequestView;
use super::candidate::{Candidate, Fit, PathKey};
use super::group::Group;
use super::rank::Rank;
use super::trie::Trie;

/// A candidate under a host, which may ask for a port.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) candidate: Arc<Candidate>,
    /// The port that the host of the route names.
    pub(super) port: Option<u16>,
    /// Which of the route's paths it is under, counted from 0.
    pub(super) nth: u32,
}

impl Entry {
    /// Returns how a request fits whose path is known to.
    pub(super) fn fit<'r>(
        &'r self,
        request: &RequestView<'_>,
        pass: Pass,
        prefix_len: usize,
    ) -> Option<Fit<'r>> {
        let port = self.port.is_none_or(|port| port == request.port_of_host(pass.traditional));
        if port { self.candidate.fit(request, pass, prefix_len) } else { None }
    }

    /// Returns whether it goes before the best match so far.
    pub(super) fn beats(&self, best: Option<&Best<'_>>) -> bool {
        best.is_none_or(|best| self.order() > (best.candidate.rank, Reverse(best.nth)))
    }

    /// Returns its place in the order of all; the largest goes first. Of one route the first path does.
    pub(super) fn order(&self) -> (Rank, Reverse<u32>) {
        (self.candidate.rank, Reverse(self.nth))
    }
}

/// How a search reads routes.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    /// Whether the flavour is `traditional`.
    pub(super) traditional: bool,
    /// Whether `traditional` looks at routes with server names although there is no TLS.
    pub(super) snis: bool,
}

/// The best match so far.
pub(super) struct Best<'r> {
    pub(super) candidate: &'r Arc<Candidate>,
    /// Which of the route's paths matched.
    pub(super) nth: u32,
    pub(super) fit: Fit<'r>,
}

/// Entries in order of rank, the best first.
#[derive(Clone, Default)]
pub(super) struct List(Vec<Entry>);

impl List {
    /// Adds an entry at its place.
    pub(super) fn insert(&mut self, entry: Entry) {
        let order = entry.order();
        let place = self.0.partition_point(|known| known.order() >= order);
        self.0.insert(place, entry);
    }

    /// Removes what is there of a candidate.
    pub(super) fn remove(&mut self, candidate: &Arc<Candidate>) {
        self.0.retain(|entry| !Arc::ptr_eq(&entry.candidate, candidate));
    }

    /// Returns whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}

/// What is at one node of the trie.
#[derive(Clone, Default)]
struct Leaf {
    prefixes: List,
    patterns: Group,
}

/// The candidates of one host; a clone shares what it holds.
#[derive(Clone, Default)]
pub(super) struct Bucket {
    paths: Trie<Leaf>,
    pathless: Arc<List>,
}

impl Bucket {
    /// Adds an entry under a path. Patterns are found only after [`finish`](Self::finish).
    pub(super) fn insert(&mut self, entry: Entry, path: &PathKey) {
        match path {
            PathKey::None => Arc::make_mut(&mut self.pathless).insert(entry),
            PathKey::Prefix(prefix) => self.paths.entry(prefix.as_bytes()).prefixes.insert(entry),
            PathKey::Pattern(pattern) => {
                self.paths.entry(&pattern.literal).patterns.insert(entry, pattern.clone());
            }
        }
    }

    /// Removes what is there of a candidate under a path.
    pub(super) fn remove(&mut self, candidate: &Arc<Candidate>, path: &PathKey) {
        let key = match path {
            PathKey::None => return Arc::make_mut(&mut self.pathless).remove(candidate),
            PathKey::Prefix(prefix) => prefix.as_bytes(),
            PathKey::Pattern(pattern) => &pattern.literal,
        };
        let leaf = self.paths.entry(key);
        match path {
            PathKey::Pattern(_) => leaf.patterns.remove(candidate),
            _ => leaf.prefixes.remove(candidate),
        }
        if leaf.prefixes.is_empty() && leaf.patterns.is_empty() {
            self.paths.remove(key);
        }
    }

    /// Prepares the patterns that begin with `literal`, after they changed.
    pub(super) fn finish(&mut self, literal: &[u8]) {
        let leaf = self.paths.entry(literal);
        leaf.patterns.finish();
        if leaf.prefixes.is_empty() && leaf.patterns.is_empty() {
            self.paths.remove(literal);
        }
    }

    /// Returns whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.pathless.is_empty()
    }

    /// Improves `best` by what matches here.
    pub(super) fn search<'r>(
        &'r self,
        request: &RequestView<'_>,
        pass: Pass,
        best: &mut Option<Best<'r>>,
    ) {
        self.paths.walk(request.path.as_bytes(), &mut |leaf, depth| {
            offer(&leaf.prefixes, request, pass, depth, best);
            leaf.patterns.search(request, pass, best);
        });
        offer(&self.pathless, request, pass, 0, best);
    }
}

fn offer<'r>(
    list: &'r List,
    request: &RequestView<'_>,
    pass: Pass,
    prefix_len: usize,
    best: &mut Option<Best<'r>>,
) {
    for entry in list.iter() {
        if !entry.beats(best.as_ref()) {
            return;
        }
        if let Some(fit) = entry.fit(request, pass, prefix_len) {
            *best = Some(Best { candidate: &entry.candidate, nth: entry.nth, fit });
            return;
        }
    }
}
