//! Holds the direction of imports and the doors of libraries, by two tables and a scan.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::source::{Source, sources};

/// Each module of the crate and its layer. A module imports lower layers only.
const LAYERS: &[(&str, u8)] = &[
    ("domain", 0),
    ("clock", 0),
    ("failpoint", 0),
    ("headers", 0),
    ("settings", 0),
    ("telemetry", 0),
    ("pki", 0),
    ("log", 1),
    ("snapshot", 1),
    ("plugins", 1),
    ("writer", 2),
    ("fleet", 2),
    ("router", 2),
    ("balancer", 2),
    ("promotion", 3),
    ("runtime", 3),
    ("admin", 4),
    ("wire", 4),
    ("proxy", 4),
    ("planes", 5),
    ("cli", 6),
];

/// The only imports within a layer: time, ids and the domain's words are below everything.
const WITHIN_LAYER: &[(&str, &[&str])] = &[
    ("settings", &["clock", "domain"]),
    ("telemetry", &["clock", "domain"]),
    ("pki", &["clock", "domain", "failpoint"]),
];

/// Each library that has a door, and the modules that may use it. Test code may use any:
/// a test of the proxy makes its own certificates.
const DOORS: &[(&str, &[&str])] = &[
    ("arc_swap", &["balancer", "runtime", "pki", "planes"]),
    ("atc_router", &["router"]),
    ("axum", &["admin"]),
    // The chain of the log is of the same hash as the tree of a snapshot.
    ("blake3", &["snapshot", "log"]),
    ("clap", &["cli"]),
    // Archives of the log are compressed as files of snapshots are.
    ("flate2", &["snapshot", "log"]),
    // Why an upstream ended a stream, which hyper does not tell.
    ("h2", &["proxy", "balancer"]),
    ("hickory_resolver", &["balancer"]),
    // The cluster listener and the Admin listener serve HTTP over connections of their own.
    ("hyper", &["proxy", "wire", "admin"]),
    ("hyper_util", &["proxy", "wire", "admin"]),
    ("object_store", &["wire"]),
    ("rcgen", &["pki"]),
    // A pattern that the router could not compile is refused when it is written.
    ("regex", &["router", "domain"]),
    ("regex_automata", &["router"]),
    ("regex_syntax", &["router"]),
    ("sqlx", &["log"]),
    ("tokio_tungstenite", &["wire"]),
    ("webpki", &["pki"]),
    // The domain parses what is written; whom to trust is asked in pki alone.
    ("x509_parser", &["pki", "domain"]),
    ("zstd", &["snapshot", "wire"]),
];

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

fn may_import(from: &str, to: &str) -> bool {
    let within = WITHIN_LAYER.iter().any(|(name, allowed)| *name == from && allowed.contains(&to));
    from == to || within || layer(to) < layer(from)
}

/// Returns what a module may import, for the message.
fn importable(from: &str) -> String {
    let names = LAYERS.iter().map(|(name, _)| *name);
    let allowed: Vec<_> = names.filter(|to| *to != from && may_import(from, to)).collect();
    if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") }
}

/// Returns the modules of the crate that a source names, with the lines.
fn imports(source: &Source) -> BTreeSet<(usize, String)> {
    let mut found = BTreeSet::new();
    for (index, token) in source.tokens.iter().enumerate() {
        let path = if source.reads(index, &["crate", "::"]) {
            index + 2
        } else if let Some(end) = climb_to_root(source, index) {
            end
        } else {
            continue;
        };
        if source.word(path) != "{" {
            found.insert((token.line, source.word(path).to_owned()));
            continue;
        }
        let mut depth = 0;
        for at in path..source.tokens.len() {
            match source.word(at) {
                "{" => depth += 1,
                "}" => depth -= 1,
                word if depth == 1 && ["{", ","].contains(&source.word(at - 1)) => {
                    found.insert((source.tokens[at].line, word.to_owned()));
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|(_, name)| layer(name).is_some());
    found
}

/// Returns where the path goes on after `super::super::…` when that climbs to the crate's root.
fn climb_to_root(source: &Source, start: usize) -> Option<usize> {
    let follows = start > 0 && source.word(start - 1) == "::";
    if follows || source.word(start) != "super" {
        return None;
    }
    let mut end = start;
    let mut climbed = 0;
    while source.reads(end, &["super", "::"]) {
        end += 2;
        climbed += 1;
    }
    let depth = source.module().len() + source.tokens[start].inline_depth;
    (climbed >= depth).then_some(end)
}

/// Returns the libraries with a door that a source's product code names, with the lines.
fn libraries(source: &Source) -> BTreeSet<(usize, &'static str)> {
    let mut found = BTreeSet::new();
    for (index, token) in source.tokens.iter().enumerate() {
        let Some((library, _)) = DOORS.iter().find(|(library, _)| *library == token.text) else {
            continue;
        };
        let before = if index == 0 { "" } else { source.word(index - 1) };
        let rooted = before == "::" && (index < 2 || !is_ident(source.word(index - 2)));
        let begins = rooted || ![".", "::", "fn", "mod", "let"].contains(&before);
        let used = source.word(index + 1) == "::" || before == "use" || before == "crate";
        if begins && used && !token.in_test {
            found.insert((token.line, *library));
        }
    }
    found
}

fn is_ident(word: &str) -> bool {
    word != "use" && word.starts_with(|sign: char| sign == '_' || sign.is_alphanumeric())
}

/// Returns one line per broken rule.
fn broken(source: &Source) -> String {
    let mut report = String::new();
    let Some(module) = source.module().first().map(|name| (*name).to_owned()) else {
        return report;
    };
    let path = &source.path;
    if layer(&module).is_none() {
        let _ = writeln!(report, "{path}: `{module}` has no layer in tests/it/layers.rs");
        return report;
    }
    for (line, to) in imports(source) {
        if !may_import(&module, &to) {
            let allowed = importable(&module);
            let _ = writeln!(
                report,
                "{path}:{line}: `{module}` imports `{to}`; it may import {allowed}"
            );
        }
    }
    for (line, library) in libraries(source) {
        let doors = DOORS.iter().find(|(name, _)| *name == library).map_or(&[][..], |door| door.1);
        if !doors.contains(&module.as_str()) {
            let _ = writeln!(
                report,
                "{path}:{line}: `{module}` uses `{library}`, whose door is {}",
                doors.join(", ")
            );
        }
    }
    report
}

#[test]
fn modules_import_lower_layers_and_libraries_stay_behind_their_door() {
    let report: String = sources("src").iter().map(broken).collect();
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_layer_is_of_a_module_that_exists() {
    let sources = sources("src");
    let modules: BTreeSet<_> =
        sources.iter().filter_map(|source| source.module().first().copied()).collect();
    for (name, _) in LAYERS {
        assert!(modules.contains(name), "the table names `{name}`, which src/ does not have");
    }
}

#[test]
fn an_import_upwards_is_found_however_it_is_written() {
    for text in [
        "use crate::writer::Writer;",
        "use crate::{domain::event::Event, writer::{Writer, Head}};",
        "use super::super::writer;",
        "mod tests { use super::super::super::writer; }",
        "fn f() { crate::writer::write() }",
        "pub(in crate::writer) fn f() {}",
    ] {
        let report = broken(&Source::parse("src/log/sqlite.rs", text));
        assert!(report.contains("src/log/sqlite.rs:1: `log` imports `writer`"), "{text}\n{report}");
        assert!(report.contains("domain, clock"), "{report}");
    }
    for text in
        ["use super::writer;", "use crate::log::writer;", "// crate::writer", "use crate::domain;"]
    {
        assert_eq!(broken(&Source::parse("src/log/sqlite.rs", text)), "", "{text}");
    }
}

#[test]
fn a_layer_does_not_import_its_own() {
    let text = "use crate::snapshot::Snapshot;";
    assert!(!broken(&Source::parse("src/log/mod.rs", text)).is_empty());
    assert!(broken(&Source::parse("src/pki/mod.rs", "use crate::clock::Clock;")).is_empty());
    assert!(!broken(&Source::parse("src/domain/event.rs", "use crate::clock::Clock;")).is_empty());
}

#[test]
fn a_library_is_found_outside_its_door() {
    for text in [
        "use sqlx::Row;",
        "#[derive(sqlx::FromRow)] struct Row;",
        "fn f() { ::sqlx::query(\"\") }",
        "use sqlx as s;",
        "fn f() -> sqlx::Error { x }",
    ] {
        let report = broken(&Source::parse("src/admin/mod.rs", text));
        assert!(report.contains("`admin` uses `sqlx`, whose door is log"), "{text}\n{report}");
    }
    for text in
        ["let sqlx = 1; f(sqlx)", "use log::sqlx::X;", "#[cfg(test)] mod tests { use sqlx::X; }"]
    {
        assert_eq!(broken(&Source::parse("src/admin/mod.rs", text)), "", "{text}");
    }
    assert_eq!(broken(&Source::parse("src/log/sqlite.rs", "use sqlx::Row;")), "");
}
