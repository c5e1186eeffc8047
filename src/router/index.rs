//! The candidates of one host: a trie of prefixes, one automaton of patterns, the rest.

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input, MatchKind, PatternID, PatternSet};

use super::candidate::{Candidate, PathRule, check};
use super::trie::Trie;
use super::{BuildError, RequestView};

/// A candidate under a host, which may ask for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its place in the router's list.
    pub(super) candidate: usize,
    /// The port that the host of the route names.
    pub(super) port: Option<u16>,
}

/// The best match so far.
pub(super) struct Best {
    pub(super) candidate: usize,
    pub(super) prefix_len: usize,
}

/// The candidates of one host. Lists are in order of priority, the best first.
#[derive(Default)]
pub(super) struct Bucket {
    prefixes: Trie<Entry>,
    pathless: Vec<Entry>,
    patterns: Vec<(Entry, Box<str>)>,
    /// All patterns, in the order of `patterns`.
    automaton: Option<Regex>,
    /// The same, but reporting every pattern that matches; only where a route asks for more than
    /// a path, so that the first pattern may not be the answer.
    all: Option<Regex>,
}

/// How large all patterns of one host may get compiled, in bytes.
const AUTOMATON_SIZE_MAX: usize = 256 << 20;

impl Bucket {
    /// Adds a candidate under each of its paths.
    pub(super) fn insert(&mut self, entry: Entry, paths: &[PathRule]) {
        if paths.is_empty() {
            self.pathless.push(entry);
        }
        for path in paths {
            match path {
                PathRule::Prefix(prefix) => self.prefixes.insert(prefix.as_bytes(), entry),
                PathRule::Pattern(pattern) => self.patterns.push((entry, pattern.clone())),
            }
        }
    }

    /// Sorts the lists and compiles the patterns.
    pub(super) fn finish(&mut self, candidates: &[Candidate]) -> Result<(), BuildError> {
        let rank = |entry: &Entry| {
            std::cmp::Reverse(candidates.get(entry.candidate).map(|c| (c.priority, c.tie)))
        };
        self.prefixes.for_each_list(&mut |list| list.sort_by_key(rank));
        self.pathless.sort_by_key(rank);
        self.patterns.sort_by_key(|(entry, _)| rank(entry));
        if self.patterns.is_empty() {
            return Ok(());
        }
        let sources: Vec<&str> = self.patterns.iter().map(|(_, source)| &**source).collect();
        let build = |kind| {
            let config = Regex::config().match_kind(kind).nfa_size_limit(Some(AUTOMATON_SIZE_MAX));
            let built = Regex::builder().configure(config).build_many(&sources);
            built.map_err(|error| error.to_string())
        };
        let picky = self.patterns.iter().any(|(entry, _)| {
            entry.port.is_some() || candidates.get(entry.candidate).is_some_and(Candidate::is_picky)
        });
        let first = build(MatchKind::LeftmostFirst);
        let all = picky.then(|| build(MatchKind::All)).transpose();
        match (first, all) {
            (Ok(first), Ok(all)) => (self.automaton, self.all) = (Some(first), all),
            (Err(error), _) | (_, Err(error)) => {
                return Err(self.blame(candidates, &error));
            }
        }
        Ok(())
    }

    /// Finds which route's pattern does not compile; all of them together may be too large.
    fn blame(&self, candidates: &[Candidate], reason: &str) -> BuildError {
        let route = |entry: &Entry| candidates.get(entry.candidate).map(|c| &c.route);
        let guilty = self
            .patterns
            .iter()
            .find_map(|(entry, source)| route(entry).and_then(|route| check(route, source).err()));
        guilty.unwrap_or_else(|| BuildError {
            route: self
                .patterns
                .first()
                .and_then(|(e, _)| route(e))
                .map_or(uuid::Uuid::nil(), |r| r.id),
            reason: format!("the patterns of its host: {reason}"),
        })
    }

    /// Improves `best` by what matches here.
    pub(super) fn search(
        &self,
        candidates: &[Candidate],
        request: &RequestView<'_>,
        best: &mut Option<Best>,
    ) {
        let mut offer = |list: &[Entry], prefix_len: usize| {
            for entry in list {
                if !beats(candidates, *entry, best.as_ref()) {
                    return;
                }
                if admits(candidates, *entry, request) {
                    *best = Some(Best { candidate: entry.candidate, prefix_len });
                    return;
                }
            }
        };
        self.prefixes.walk(request.path.as_bytes(), &mut offer);
        offer(&self.pathless, 0);
        if let Some(automaton) = &self.automaton {
            self.search_patterns(automaton, candidates, request, best);
        }
    }

    fn search_patterns(
        &self,
        automaton: &Regex,
        candidates: &[Candidate],
        request: &RequestView<'_>,
        best: &mut Option<Best>,
    ) {
        let input = Input::new(request.path).anchored(Anchored::Yes);
        // The first in order is the answer nearly always.
        let Some(found) = automaton.find(input.clone()) else { return };
        let Some((entry, _)) = self.patterns.get(found.pattern().as_usize()) else { return };
        if !beats(candidates, *entry, best.as_ref()) {
            return;
        }
        if admits(candidates, *entry, request) {
            *best = Some(Best { candidate: entry.candidate, prefix_len: found.end() });
            return;
        }
        let Some(all) = &self.all else { return };
        let mut others = PatternSet::new(all.pattern_len());
        all.which_overlapping_matches(&input, &mut others);
        for pattern in others.iter() {
            let Some((entry, _)) = self.patterns.get(pattern.as_usize()) else { return };
            if !beats(candidates, *entry, best.as_ref()) {
                return;
            }
            if admits(candidates, *entry, request) {
                let prefix_len = matched_len(automaton, pattern, request.path);
                *best = Some(Best { candidate: entry.candidate, prefix_len });
                return;
            }
        }
    }
}

fn matched_len(automaton: &Regex, pattern: PatternID, path: &str) -> usize {
    let input = Input::new(path).anchored(Anchored::Pattern(pattern));
    automaton.find(input).map_or(0, |found| found.end())
}

fn beats(candidates: &[Candidate], entry: Entry, best: Option<&Best>) -> bool {
    let rank = |index: usize| candidates.get(index).map(|c| (c.priority, c.tie));
    best.is_none_or(|best| rank(entry.candidate) > rank(best.candidate))
}

fn admits(candidates: &[Candidate], entry: Entry, request: &RequestView<'_>) -> bool {
    entry.port.is_none_or(|port| port == request.port)
        && candidates.get(entry.candidate).is_some_and(|candidate| candidate.admits(request))
}
