//! Patterns that begin alike: one by one while they are few, else by one automaton for each of their
//! chunks, so that a change compiles one chunk anew and not all of them.

use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input, MatchKind};

use super::RequestView;
use super::bucket::{Best, Entry, Pass};
use super::candidate::{Candidate, Fit};
use super::pattern::Pattern;

/// How many patterns are tried one by one.
const SINGLE_MAX: usize = 8;

/// How many patterns one automaton holds.
const CHUNK_MAX: usize = 128;

/// How large an automaton may get compiled, in bytes; beyond that patterns are tried one by one.
const AUTOMATON_SIZE_MAX: usize = 32 << 20;

/// Patterns in order of rank, the best first.
#[derive(Clone, Default)]
pub(super) struct Group {
    chunks: Vec<Arc<Chunk>>,
}

#[derive(Clone, Default)]
struct Chunk {
    entries: Vec<(Entry, Arc<Pattern>)>,
    /// All patterns, in their order.
    automaton: Option<Regex>,
    /// Whether `automaton` is what the entries want.
    finished: bool,
}

impl Group {
    /// Adds a pattern at its place.
    pub(super) fn insert(&mut self, entry: Entry, pattern: Arc<Pattern>) {
        let order = entry.order();
        let goes_before =
            |chunk: &Arc<Chunk>| chunk.entries.last().is_some_and(|(last, _)| last.order() < order);
        if self.chunks.is_empty() {
            self.chunks.push(Arc::default());
        }
        let at = self.chunks.iter().position(goes_before).unwrap_or(self.chunks.len() - 1);
        let Some(chunk) = self.chunks.get_mut(at).map(Arc::make_mut) else { return };
        let place = chunk.entries.partition_point(|(known, _)| known.order() >= order);
        chunk.entries.insert(place, (entry, pattern));
        chunk.finished = false;
        if chunk.entries.len() > CHUNK_MAX {
            // What is added in order leaves full chunks behind.
            let at_end = place + 1 == chunk.entries.len();
            let half = if at_end { CHUNK_MAX } else { chunk.entries.len() / 2 };
            let entries = chunk.entries.split_off(half);
            let rest = Chunk { entries, automaton: None, finished: false };
            self.chunks.insert(at + 1, Arc::new(rest));
        }
    }

    /// Removes the patterns of a candidate.
    pub(super) fn remove(&mut self, candidate: &Arc<Candidate>) {
        let is_own = |(entry, _): &(Entry, Arc<Pattern>)| Arc::ptr_eq(&entry.candidate, candidate);
        for chunk in &mut self.chunks {
            if chunk.entries.iter().any(is_own) {
                let chunk = Arc::make_mut(chunk);
                chunk.entries.retain(|entry| !is_own(entry));
                chunk.finished = false;
            }
        }
        self.chunks.retain(|chunk| !chunk.entries.is_empty());
    }

    /// Returns whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Compiles the automata of the chunks that changed.
    pub(super) fn finish(&mut self) {
        for chunk in &mut self.chunks {
            if !chunk.finished {
                let chunk = Arc::make_mut(chunk);
                chunk.automaton = automaton(&chunk.entries);
                chunk.finished = true;
            }
        }
    }

    /// Improves `best` by what matches here.
    pub(super) fn search<'r>(
        &'r self,
        request: &RequestView<'_>,
        pass: Pass,
        best: &mut Option<Best<'r>>,
    ) {
        for chunk in &self.chunks {
            let first = chunk.entries.first();
            if !first.is_some_and(|(first, _)| first.beats(best.as_ref())) {
                return;
            }
            chunk.search(request, pass, best);
        }
    }
}

impl Chunk {
    fn search<'r>(&'r self, request: &RequestView<'_>, pass: Pass, best: &mut Option<Best<'r>>) {
        let mut start = 0;
        if let Some(automaton) = &self.automaton {
            let input = Input::new(request.path).anchored(Anchored::Yes);
            // The first in order is the answer nearly always; none before it matches.
            let Some(found) = automaton.find(input) else { return };
            start = found.pattern().as_usize();
        }
        for (entry, pattern) in self.entries.iter().skip(start) {
            if !entry.beats(best.as_ref()) {
                return;
            }
            let Some(found) = pattern.regex.find(request.path) else { continue };
            if let Some(fit) = entry.fit(request, pass, found.len()) {
                let fit = Fit { pattern: Some(&pattern.regex), ..fit };
                *best = Some(Best { candidate: &entry.candidate, nth: entry.nth, fit });
                return;
            }
        }
    }
}

/// Compiles all patterns into one automaton, where that is worth it.
fn automaton(entries: &[(Entry, Arc<Pattern>)]) -> Option<Regex> {
    // Of patterns that may match anywhere the leftmost would win, not the first in order.
    if entries.len() <= SINGLE_MAX || !entries.iter().all(|(_, pattern)| pattern.anchored) {
        return None;
    }
    let sources: Vec<&str> = entries.iter().map(|(_, pattern)| pattern.regex.as_str()).collect();
    let config = Regex::config()
        .match_kind(MatchKind::LeftmostFirst)
        .nfa_size_limit(Some(AUTOMATON_SIZE_MAX));
    Regex::builder().configure(config).build_many(&sources).ok()
}
