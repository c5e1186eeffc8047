//! Holds the map of this folder to what there is.

use std::collections::BTreeSet;

use crate::source::{Source, sources};

#[test]
fn the_map_names_tests_that_are_there() {
    let named = |line: &str| line.strip_prefix("//!   `")?.strip_suffix('`').map(str::to_owned);
    let mut names: BTreeSet<String> = include_str!("mod.rs").lines().filter_map(named).collect();
    assert!(names.len() > 30, "the map can be read: {names:?}");
    for Source { tokens, .. } in ["src", "tests"].into_iter().flat_map(sources) {
        for pair in tokens.windows(2).filter(|pair| pair[0].text == "fn") {
            names.remove(&pair[1].text);
        }
    }
    assert!(names.is_empty(), "the map names what is not there: {names:#?}");
}
