//! What the groups of a path pattern matched.

use regex::{Captures, Regex};

/// What the groups of a pattern matched in a path: by number, from 1 on, and by name.
pub struct UriCaptures<'p> {
    captures: Captures<'p>,
    names: Vec<&'p str>,
}

impl<'p> UriCaptures<'p> {
    pub(super) fn of(pattern: &'p Regex, path: &'p str) -> Option<Self> {
        let names = pattern.capture_names().flatten().collect();
        pattern.captures(path).map(|captures| Self { captures, names })
    }

    /// Returns what a group matched, given its name or number.
    pub fn get(&self, group: &str) -> Option<&'p str> {
        let found = match group.parse() {
            Ok(number) => self.captures.get(number),
            Err(_) => self.captures.name(group),
        };
        found.map(|found| found.as_str())
    }

    /// Returns what the numbered groups matched, in order; none for one that took no part.
    pub fn numbered(&self) -> impl Iterator<Item = Option<&'p str>> {
        (1..self.captures.len()).map(|group| self.captures.get(group).map(|it| it.as_str()))
    }

    /// Returns what the named groups matched, those left out that took no part.
    pub fn named(&self) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.names.iter().filter_map(|name| Some((*name, self.captures.name(name)?.as_str())))
    }
}
