//! Holds what `GET /schemas/…` shows against what Kong shows, where Kong's answers are at hand.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::kinds::plugin;
use hybridctl::domain::kinds::route::Flavour;
use serde_json::Value;

use crate::source::root;

/// Kong's schemas that ours do not equal yet. An entry whose schema is equal fails the test.
const NOT_YET: &[&str] = &[];

/// What differs for good: the schema, where in it, and why.
const ACCEPTED: &[(&str, &str, &str)] = &[
    (
        "plugins/acme",
        "entity_checks.3",
        "Kong checks the storage against the node's role, which schemas do not know here",
    ),
    (
        "entities/keys",
        "fields.kid.unique",
        "Kong says that it is not unique, which is what saying nothing means everywhere else",
    ),
    ("plugins/session", "fields.config.fields.secret.auto", SECRET),
    ("plugins/session", "fields.config.fields.secret.default", SECRET),
];

const SECRET: &str = "Kong draws a secret for each process, here each plugin has its own";

/// Where the answers of Kong are, unless the environment names another folder.
const FOLDER: &str = "../shared/reference/schemas";

/// The variable that names another folder.
const VARIABLE: &str = "HYBRIDCTL_KONG_SCHEMAS";

#[test]
fn schemas_are_shown_as_kong_shows_them() {
    let folder = std::env::var_os(VARIABLE).map_or_else(|| root().join(FOLDER), PathBuf::from);
    if !folder.is_dir() {
        eprintln!("not compared: no schemas of Kong in {}; see {VARIABLE}", folder.display());
        return;
    }
    let catalog = hybridctl::plugins::catalog(|_| true);
    let mut report = String::new();
    let mut equal = 0;
    let mut used = vec![false; ACCEPTED.len()];
    for group in ["entities", "plugins", "vaults"] {
        for (name, kongs) in answers(&folder.join(group)) {
            let schema = format!("{group}/{name}");
            let mut findings = match ours(&catalog, group, &name) {
                Some(ours) => differences(&ours, &kongs),
                None => vec![(String::new(), "ours is missing".to_owned())],
            };
            findings.retain(|(at, _)| {
                let accepted =
                    ACCEPTED.iter().position(|(of, path, _)| *of == schema && path == at);
                accepted.map(|index| used[index] = true).is_none()
            });
            match (findings.is_empty(), NOT_YET.contains(&schema.as_str())) {
                (true, false) => equal += 1,
                (false, true) => {}
                (true, true) => {
                    let _ = writeln!(report, "{schema}: equal; take it out of NOT_YET");
                }
                (false, false) => {
                    for (at, what) in findings {
                        let _ = writeln!(report, "{schema}: {at}: {what}");
                    }
                }
            }
        }
    }
    for ((schema, at, _), _) in ACCEPTED.iter().zip(used).filter(|(_, used)| !used) {
        let _ = writeln!(report, "{schema}: {at}: does not differ; take it out of ACCEPTED");
    }
    eprintln!("{equal} schemas equal Kong's, {} not yet", NOT_YET.len());
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_difference_has_its_place_and_reason() {
    for (schema, at, reason) in ACCEPTED {
        assert!(!at.is_empty() && reason.len() > 20, "{schema}: {at}: {reason}");
    }
}

fn ours(catalog: &Catalog, group: &str, name: &str) -> Option<Value> {
    match group {
        "entities" => match name.strip_suffix(".expressions") {
            Some(name) => Catalog::with_flavour(Flavour::Expressions, Vec::new()).describe(name),
            None => catalog.describe(name),
        },
        "plugins" => catalog.describe_part(plugin::KIND, name),
        _ => catalog.describe_part(catalog.kind("vaults")?, name),
    }
}

/// A pattern is translated when it is first used: a malformed one would be found by a client.
#[test]
fn every_pattern_of_every_schema_compiles() {
    fn find<'v>(shown: &'v Value, patterns: &mut Vec<&'v str>) {
        match shown {
            Value::Object(object) => {
                for (name, value) in object {
                    match (name.as_str(), value) {
                        ("match" | "not_match" | "pattern", Value::String(text)) => {
                            patterns.push(text);
                        }
                        ("patterns", Value::Array(list)) => {
                            patterns.extend(list.iter().filter_map(Value::as_str));
                        }
                        (_, value) => find(value, patterns),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| find(item, patterns)),
            _ => {}
        }
    }
    let catalog = hybridctl::plugins::catalog(|_| true);
    let kinds = catalog.schemas().filter_map(|schema| catalog.describe(schema.kind.name()));
    let plugins = catalog.plugins().filter_map(|p| catalog.describe_part(plugin::KIND, p.name));
    let shown: Vec<_> = kinds.chain(plugins).collect();
    let mut patterns = Vec::new();
    shown.iter().for_each(|shown| find(shown, &mut patterns));
    for text in &patterns {
        hybridctl::domain::schema::Pattern::new(text.to_string().leak()).is_match("a");
    }
    assert!(patterns.len() > 10, "only {patterns:?} were found");
}

/// Returns Kong's answers in a folder, by name.
fn answers(folder: &Path) -> Vec<(String, Value)> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut answers: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let answer = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().unwrap().to_string_lossy().into_owned(), answer)
        })
        .collect();
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    answers
}

/// Returns where two descriptions differ, and how. Kong's sentences about fields are its own.
fn differences(ours: &Value, kongs: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    compare(String::new(), ours, kongs, &mut found);
    found
}

fn compare(at: String, ours: &Value, kongs: &Value, found: &mut Vec<(String, String)>) {
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match (ours, kongs) {
        (Value::Object(mine), Value::Object(theirs)) => {
            let names: std::collections::BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
            for name in names {
                let sentence =
                    name == "description" && theirs.get(name).is_some_and(Value::is_string);
                match (mine.get(name), theirs.get(name)) {
                    _ if sentence => {}
                    (Some(mine), Some(theirs)) => compare(below(name), mine, theirs, found),
                    (Some(mine), None) => {
                        found.push((below(name), format!("Kong has not: {mine}")))
                    }
                    (None, Some(theirs)) => found.push((below(name), format!("lacks {theirs}"))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(mine), Value::Array(theirs)) if is_named(mine) && is_named(theirs) => {
            let names = |list: &[Value]| list.iter().map(name_of).collect::<Vec<_>>();
            let (my_names, their_names) = (names(mine), names(theirs));
            if my_names != their_names {
                found.push((at.clone(), format!("{my_names:?} are not {their_names:?}")));
            }
            for item in mine {
                let name = name_of(item);
                if let Some(other) = theirs.iter().find(|other| name_of(other) == name) {
                    compare(below(&name), &item[&name], &other[&name], found);
                }
            }
        }
        (Value::Array(mine), Value::Array(theirs)) => {
            for index in 0..mine.len().max(theirs.len()) {
                let at = below(&index.to_string());
                match (mine.get(index), theirs.get(index)) {
                    (Some(mine), Some(theirs)) => compare(at, mine, theirs, found),
                    (Some(mine), None) => found.push((at, format!("Kong has not: {mine}"))),
                    (None, theirs) => found.push((at, format!("lacks {}", theirs.unwrap()))),
                }
            }
        }
        _ if ours == kongs => {}
        _ => found.push((at, format!("{ours} is not {kongs}"))),
    }
}

/// Fields are lists of objects with one member each, the names all different; checks are not.
fn is_named(list: &[Value]) -> bool {
    let names: std::collections::BTreeSet<_> = list.iter().map(name_of).collect();
    names.len() == list.len() && !names.contains("")
}

fn name_of(item: &Value) -> String {
    match item.as_object() {
        Some(object) if object.len() == 1 => object.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

#[test]
fn differences_are_found_wherever_they_are() {
    let kongs = serde_json::json!({"fields": [
        {"a": {"type": "string", "description": "words", "required": true}},
        {"b": {"type": "array", "elements": {"type": "integer", "between": [0, 1]}}},
    ]});
    assert!(differences(&kongs, &kongs).is_empty());
    for (at, ours) in [
        (
            "fields.a.required",
            r#"[{"a":{"type":"string"}},{"b":{"type":"array","elements":{"type":"integer","between":[0,1]}}}]"#,
        ),
        (
            "fields.b.elements.between.1",
            r#"[{"a":{"type":"string","required":true}},{"b":{"type":"array","elements":{"type":"integer","between":[0,2]}}}]"#,
        ),
        (
            "fields",
            r#"[{"b":{"type":"array","elements":{"type":"integer","between":[0,1]}}},{"a":{"type":"string","required":true}}]"#,
        ),
        (
            "fields.a.unique",
            r#"[{"a":{"type":"string","required":true,"unique":true}},{"b":{"type":"array","elements":{"type":"integer","between":[0,1]}}}]"#,
        ),
    ] {
        let ours: Value = serde_json::from_str(ours).unwrap();
        let found = differences(&serde_json::json!({"fields": ours}), &kongs);
        let places: Vec<_> = found.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(places, [at]);
    }
}
