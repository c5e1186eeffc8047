//! Holds the habits of the source that no lint knows.

use std::fmt::Write as _;
use std::fs;

use crate::source::{Source, root, sources};

/// Longest source file, tests included.
const LINES_MAX: usize = 500;

/// The modules whose types are a contract outside the process, and so may derive serde: the
/// rest are compiled forms, which nobody should read or write.
const SERIALIZABLE: &[&str] =
    &["domain", "settings", "plugins", "snapshot", "fleet", "promotion", "wire", "admin", "cli"];

/// Crates that must not come in, not even behind others: one TLS stack, one crypto provider.
/// (`ring` stands in Cargo.lock for targets and features that are never built: deny.toml.)
const BANNED: &[&str] = &["boring", "native-tls", "openssl", "openssl-sys"];

/// Returns every source of the project.
fn all() -> Vec<Source> {
    ["src", "tests", "tools"].into_iter().flat_map(sources).collect()
}

/// Fails with one line per finding.
fn none(findings: &str) {
    assert!(findings.is_empty(), "\n{findings}");
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let mut findings = String::new();
    for Source { path, text, .. } in all() {
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            let _ = writeln!(findings, "{path}: opens with {first:?}, not with a `//!` sentence");
        }
    }
    none(&findings);
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut findings = String::new();
    for Source { path, text, .. } in all() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            let _ = writeln!(findings, "{path}: {lines} lines; at most {LINES_MAX}");
        }
    }
    none(&findings);
}

/// A file that no `mod` line names is not compiled: its tests would pass unseen.
#[test]
fn no_file_is_forgotten() {
    let all = all();
    let mut findings = String::new();
    for Source { path, .. } in &all {
        let Some((parents, name)) = declared_in(path) else { continue };
        let named = all.iter().filter(|source| parents.contains(&source.path)).any(|parent| {
            (0..parent.tokens.len()).any(|at| parent.reads(at, &["mod", &name, ";"]))
        });
        if !named {
            let _ = writeln!(findings, "{path}: no `mod {name};` in {}", parents.join(" or "));
        }
    }
    none(&findings);
}

/// Returns the files one of which must name the module at `path`, and the module's name; none
/// for the roots of crates.
fn declared_in(path: &str) -> Option<(Vec<String>, String)> {
    let (folder, file) = path.rsplit_once('/')?;
    let is_root = |folder: &str| folder == "tests/it" || folder.rsplit('/').next() == Some("src");
    let (folder, name) = match file {
        "main.rs" | "lib.rs" if is_root(folder) => return None,
        "mod.rs" => folder.rsplit_once('/')?,
        _ => (folder, file.strip_suffix(".rs")?),
    };
    let parents = if is_root(folder) {
        vec![format!("{folder}/lib.rs"), format!("{folder}/main.rs")]
    } else {
        // `foo/tests.rs` belongs to the file `foo.rs`, every other file to a folder's `mod.rs`.
        vec![format!("{folder}/mod.rs"), format!("{folder}.rs")]
    };
    Some((parents, name.to_owned()))
}

/// Tests wait for what they expect, with a deadline. In the product a task may wait with
/// tokio's timers (between two polls, before a new try), but nothing may block a thread; save
/// a subcommand that waits for the process it has signalled, and has nothing else to do.
#[test]
fn nothing_sleeps() {
    let mut findings = String::new();
    for source in ["src", "tests"].into_iter().flat_map(sources) {
        let waits_for_a_process = source.path.starts_with("src/cli/");
        for (at, token) in source.tokens.iter().enumerate() {
            let blocks = source.reads(at, &["thread", "::", "sleep"]) && !waits_for_a_process;
            if blocks || (token.in_test && ["sleep", "sleep_until"].contains(&&*token.text)) {
                let _ = writeln!(findings, "{}:{}: sleeps", source.path, token.line);
            }
        }
    }
    none(&findings);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut findings = String::new();
    for source in all() {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                let _ = writeln!(findings, "{}:{}: {}", source.path, number + 1, line.trim());
            }
        }
        for (at, token) in source.tokens.iter().enumerate() {
            let macros = ["todo", "unimplemented"].contains(&&*token.text);
            let ignored = source.reads(at, &["#", "[", "ignore"]);
            if ignored || (macros && source.word(at + 1) == "!") {
                let _ = writeln!(findings, "{}:{}: left for later", source.path, token.line);
            }
        }
    }
    none(&findings);
}

#[test]
fn serde_is_derived_for_contracts_only() {
    let mut findings = String::new();
    for source in sources("src") {
        let module = source.module().first().copied().unwrap_or_default();
        if SERIALIZABLE.contains(&module) {
            continue;
        }
        for at in (0..source.tokens.len()).filter(|at| source.reads(*at, &["derive", "("])) {
            let derived = (at + 2..source.tokens.len()).take_while(|at| source.word(*at) != ")");
            for at in derived {
                if ["Serialize", "Deserialize"].contains(&source.word(at)) {
                    let (path, line) = (&source.path, source.tokens[at].line);
                    let _ = writeln!(findings, "{path}:{line}: `{module}` derives serde");
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn there_is_one_tls_stack() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is readable");
    let count = |name: &str| lock.matches(&format!("name = \"{name}\"\n")).count();
    for name in BANNED {
        assert_eq!(count(name), 0, "{name} came in; `cargo tree -i {name}` tells behind whom");
    }
    for name in ["rustls", "aws-lc-rs", "hyper", "http", "tokio"] {
        assert_eq!(count(name), 1, "{name} must be there in one version");
    }
}

/// A reader finds every folder of `src/` on the map.
#[test]
fn the_code_map_names_every_folder() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut findings = String::new();
    for entry in fs::read_dir(root().join("src")).expect("src is readable") {
        let entry = entry.expect("src is readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !map.contains(&format!("`{name}/`")) {
            let _ = writeln!(findings, "ARCHITECTURE.md: the code map does not name `{name}/`");
        }
    }
    none(&findings);
}
