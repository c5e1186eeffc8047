//! What outlives a process, and what of it counts against a config.

use std::path::PathBuf;

use super::*;

struct Prefix(PathBuf);

impl Prefix {
    fn new() -> Self {
        let name = format!("hybridctl-journal-{}", crate::clock::Clock::System.id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Journal {
        Journal::open(&self.0, "one")
    }

    /// Begins a trial in a process that then ends without a word.
    fn crash_on(&self, hash: ConfigHash) {
        self.open().begin(hash, Instant::now());
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn hash(number: u8) -> ConfigHash {
    ConfigHash([number; 32])
}

fn compile(number: u8) -> Rejected {
    Rejected {
        config_hash: hash(number),
        phase: "compile".into(),
        entity: None,
        pointer: None,
        reason: "no".into(),
    }
}

#[test]
fn the_second_crash_on_a_config_is_the_last() {
    let prefix = Prefix::new();
    prefix.crash_on(hash(1));
    assert_eq!(prefix.open().refusal(hash(1)), None);
    prefix.crash_on(hash(1));
    let journal = prefix.open();
    let refusal = journal.refusal(hash(1)).unwrap();
    assert_eq!(refusal.phase, CRASH);
    assert_eq!(
        refusal.reason,
        "the data plane ended 2 times within 60 seconds of putting it in force"
    );
    assert_eq!(journal.refusal(hash(2)), None);
    assert!(prefix.open().refusal(hash(1)).is_some(), "for good");
}

/// A data plane that starts from an older config between two crashes still counts both.
#[test]
fn crashes_are_counted_for_each_config() {
    let prefix = Prefix::new();
    prefix.crash_on(hash(1));
    let mut journal = prefix.open();
    journal.begin(hash(2), Instant::now());
    journal.begin(hash(1), Instant::now());
    drop(journal);
    let journal = prefix.open();
    assert!(journal.refusal(hash(1)).is_some());
    assert!(journal.refusal(hash(2)).is_none());
}

#[test]
fn a_process_that_is_told_to_end_has_not_crashed() {
    let prefix = Prefix::new();
    for _ in 0..3 {
        let mut journal = prefix.open();
        journal.begin(hash(1), Instant::now());
        journal.close();
    }
    assert_eq!(prefix.open().refused(), []);
}

#[test]
fn a_config_is_good_after_the_bake_time_and_no_crash_counts_against_it_then() {
    let prefix = Prefix::new();
    prefix.crash_on(hash(1));
    let now = Instant::now();
    let mut journal = prefix.open();
    journal.begin(hash(1), now);
    assert_eq!(journal.bake(now + BAKE_TIME / 2), None);
    assert_eq!(journal.good(), None);
    assert_eq!(journal.bake(now + BAKE_TIME), Some(hash(1)));
    assert!(!journal.is_baked(now + BAKE_TIME * 2), "once");
    drop(journal);
    for _ in 0..3 {
        prefix.crash_on(hash(1));
    }
    let journal = prefix.open();
    assert_eq!((journal.refused(), journal.good()), (&[][..], Some(hash(1))));
}

#[test]
fn a_config_that_is_refused_leaves_the_one_before_on_trial() {
    let prefix = Prefix::new();
    let now = Instant::now();
    let mut journal = prefix.open();
    journal.begin(hash(1), now);
    let before = journal.begin(hash(2), now + BAKE_TIME / 2);
    journal.refuse(compile(2), before);
    assert_eq!(journal.refusal(hash(2)), Some(&compile(2)));
    assert_eq!(journal.bake(now + BAKE_TIME), Some(hash(1)));
    assert_eq!(prefix.open().refused(), [compile(2)]);
}

#[test]
fn another_program_tries_again_and_tries_what_was_good_too() {
    let prefix = Prefix::new();
    let now = Instant::now();
    let mut journal = prefix.open();
    journal.begin(hash(1), now);
    journal.bake(now + BAKE_TIME);
    let before = journal.begin(hash(2), now);
    journal.refuse(compile(2), before);
    let two = || Journal::open(&prefix.0, "two");
    assert_eq!((two().refused(), two().good()), (&[][..], Some(hash(1))));
    for _ in 0..2 {
        two().begin(hash(1), now);
    }
    assert!(two().refusal(hash(1)).is_some());
}

#[test]
fn only_so_much_is_remembered() {
    let mut journal = Prefix::new().open();
    for number in 0..=REMEMBERED_MAX as u8 {
        let before = journal.begin(hash(number), Instant::now());
        journal.refuse(compile(number), before);
    }
    assert_eq!(journal.refused().len(), REMEMBERED_MAX);
    assert_eq!((journal.refusal(hash(0)), journal.refusal(hash(1)).is_some()), (None, true));
}

/// Nothing of the journal is worth a data plane that does not start.
#[test]
fn a_journal_that_cannot_be_read_or_written_is_gone_without() {
    let prefix = Prefix::new();
    std::fs::write(prefix.0.join(FILE_NAME), b"{\"crashed\": 1").unwrap();
    assert_eq!(prefix.open().refused(), []);
    let mut journal = Journal::open(&prefix.0.join("missing"), "one");
    journal.begin(hash(1), Instant::now());
    assert!(journal.trouble.ends(), "it was told of");
}
