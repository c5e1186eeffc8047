//! The corpora of the fuzz targets, given to their targets once more: what was found stays found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::root;

#[path = "../../fuzz/src/lib.rs"]
pub(crate) mod fuzz;

/// How many bytes all corpora may have.
const BYTES_MAX: usize = 200 << 10;

/// Returns the paths in a folder, sorted.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Tells which input it was when a target panics.
struct FailureNote(PathBuf);

impl Drop for FailureNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}

#[test]
fn no_input_of_a_corpus_makes_its_target_fail() {
    let mut bytes = 0;
    for (name, target) in fuzz::TARGETS {
        let inputs = paths(&root().join("fuzz/corpus").join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in inputs {
            let input = fs::read(&path).unwrap();
            bytes += input.len();
            let note = FailureNote(path);
            target(&input);
            // Cut off and damaged, as a bad network has it.
            target(&input[..input.len() / 2]);
            drop(note);
        }
    }
    assert!(bytes <= BYTES_MAX, "the corpora have {bytes} bytes, at most {BYTES_MAX} are kept");
}

#[test]
fn every_target_can_be_run_and_has_a_corpus() {
    let stems = |folder: &str| -> BTreeSet<String> {
        let paths = paths(&root().join(folder));
        paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets: BTreeSet<_> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems("fuzz/fuzz_targets"), targets);
    assert_eq!(stems("fuzz/corpus"), targets);
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for name in targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
