//! What is said to data planes of 3.0 to 3.8, held against what Kong's schemas of each version lack
//! of those of 3.9.1.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;
use crate::domain::catalog::Catalog;
use crate::domain::schema::Type;
use crate::plugins;
use crate::wire::kong::compat::downgrade::Said;
use crate::wire::kong::compat::records::records;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| plugins::catalog(|_| true));

/// Something that a version does not know: a kind, a field, or some texts of a field.
#[derive(Debug)]
struct Unknown {
    version: String,
    owner: &'static str,
    path: Option<&'static str>,
    texts: Vec<&'static str>,
}

/// Reads lines of `3.N KIND`, `3.N KIND FIELD` and `3.N KIND FIELD = TEXT | TEXT`; plugins are kinds
/// as `plugins/NAME`.
fn unknown() -> Vec<Unknown> {
    let text = include_str!("../../../../../tests/fixtures/kong-3/unknown.txt");
    let line = |line: &'static str| {
        let (what, texts) = line.split_once(" = ").unwrap_or((line, ""));
        let mut words = what.split(' ');
        Unknown {
            version: format!("{}.0", words.next().unwrap()),
            owner: words.next().unwrap(),
            path: words.next(),
            texts: texts.split(" | ").filter(|text| !text.is_empty()).collect(),
        }
    };
    text.lines().map(line).collect()
}

/// Says a row as it is written to a message; nothing if its kind is left out.
fn said(
    version: &str,
    has_streams: bool,
    kind: &str,
    row: &Value,
) -> Result<Option<(Value, Vec<String>)>, String> {
    let downgrade = Downgrade::new("3.9.1", version).unwrap();
    let empty = Config::default();
    let older = Older { has_streams, ..Older::of(&downgrade, &empty) };
    let (mut said, mut row) = (Said::default(), row.as_object().unwrap().clone());
    let mut says = downgrade.says(&mut said);
    if older.leaves_out(kind, &mut says) {
        return Ok(None);
    }
    older.translate(kind, &mut row, &mut says).map_err(|error| error.to_string())?;
    downgrade.run(kind, &mut row, &mut said);
    Ok(Some((row.into(), said.into_lines().into_iter().map(|line| line.text).collect())))
}

impl Unknown {
    /// Returns whether a row that is sent has it.
    fn is_in(&self, row: &Value) -> bool {
        let Some(path) = self.path else { return true };
        let value = row.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null);
        let is_text = |value: &Value| value.as_str().is_some_and(|it| self.texts.contains(&it));
        match (self.texts.is_empty(), value) {
            (true, value) => !value.is_null(),
            (false, Value::Array(items)) => items.iter().any(is_text),
            (false, value) => is_text(value),
        }
    }
}

/// Returns rows of a kind with every sort of value.
fn rows(owner: &str) -> Vec<Value> {
    let Some(name) = owner.strip_prefix("plugins/") else {
        let kind = owner.strip_prefix("plugins").map_or(owner, |_| "plugins");
        let schema = CATALOG.schemas().find(|it| it.kind.name() == kind).unwrap();
        return records(&schema.fields).into_iter().map(Value::from).collect();
    };
    let plugin = CATALOG.plugins().find(|it| it.name == name).unwrap();
    let Type::Record(fields) = &plugin.config.ty else { panic!("{name}") };
    let row = |mut config: serde_json::Map<String, Value>| {
        let no_endpoint = ["traces_endpoint", "logs_endpoint"]
            .iter()
            .all(|endpoint| config.get(*endpoint).is_some_and(Value::is_null));
        if no_endpoint {
            config.insert("traces_endpoint".into(), "http://t".into());
        }
        json!({"name": name, "protocols": ["http", "tcp", "tls", "udp"], "config": config})
    };
    let mut rows: Vec<_> = records(fields).into_iter().map(row).collect();
    for scope in ["service", "route", "consumer"] {
        let mut row = rows[0].clone();
        row[scope] = "7".into();
        rows.push(row);
    }
    rows
}

#[test]
fn what_a_version_does_not_know_is_not_sent_to_it() {
    let unknown = unknown();
    assert!(unknown.len() > 200);
    let owners: BTreeSet<_> = unknown.iter().map(|it| it.owner).collect();
    let mut wrong = BTreeSet::new();
    for owner in owners {
        let kind = owner.split('/').next().unwrap();
        let rows = rows(owner);
        let of: Vec<_> = unknown.iter().filter(|it| it.owner == owner).collect();
        for version in of.iter().map(|it| &it.version).collect::<BTreeSet<_>>() {
            for (nth, row) in rows.iter().enumerate() {
                match said(version, false, kind, row) {
                    Ok(None) => {}
                    Ok(Some((row, _))) => {
                        let of = of.iter().filter(|it| it.version == *version);
                        wrong.extend(of.filter(|it| it.is_in(&row)).map(|it| format!("{it:?}")));
                    }
                    Err(why) => assert_ne!(nth, 0, "{version} {owner}: {why}"),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_left_out_or_said_otherwise_is_told() {
    let plugin = |name: &str, config: Value| json!({"name": name, "config": config});
    for (version, row, config, line) in [
        (
            "3.4.2",
            plugin("proxy-cache", json!({"response_headers": {"age": true}})),
            json!({}),
            "proxy_cache plugin contains configuration 'response_headers' which is incompatible",
        ),
        (
            "3.6.1",
            plugin("zipkin", json!({"header_type": "datadog", "default_header_type": "datadog"})),
            json!({"header_type": "preserve", "default_header_type": "b3"}),
            "Kong Gateway v3.9.1 configures zipkin plugin with another header_type which is \
             incompatible with dataplane version 3.6.1 and will fall back to 'preserve'.",
        ),
        (
            "3.2.2",
            plugin("http-log", json!({"content_type": "application/json; charset=utf-8"})),
            json!({"content_type": "application/json"}),
            "another content_type",
        ),
        (
            "3.7.1",
            plugin("ai-proxy", json!({"model": {"options": {"input_cost": 1.5}}})),
            json!({"model": {"options": {}}}),
            "'model.options.input_cost'",
        ),
    ] {
        let (row, lines) = said(version, false, "plugins", &row).unwrap().unwrap();
        assert_eq!(row["config"], config, "{version}");
        assert!(lines.iter().any(|it| it.contains(line)), "{version}: {lines:?}");
    }
    let key = json!({"kid": "k"});
    assert!(said("3.0.2", false, "keys", &key).unwrap().is_none());
    assert!(said("3.2.0", false, "keys", &key).unwrap().is_some());
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let addresses = json!({"id": "7", "name": "ip-restriction", "protocols": ["http", "tcp"]});
    let token = json!({"id": "8", "algorithm": "EdDSA"});
    let model = json!({"id": "1", "name": "ai-proxy", "service": "2"});
    let logs = json!({"id": "9", "name": "opentelemetry", "config": {"logs_endpoint": "http://l"}});
    for (version, has_streams, kind, row, why) in [
        (
            "3.3.1",
            true,
            "plugins",
            &addresses,
            "3.3 cannot be told plugins 7 (ip-restriction): 3.3 restricts no addresses below HTTP",
        ),
        (
            "3.6.1",
            false,
            "jwt_secrets",
            &token,
            "3.6 cannot be told jwt_secrets 8: 3.6 does not know the value of 'algorithm'",
        ),
        (
            "3.7.1",
            false,
            "plugins",
            &model,
            "3.7 cannot be told plugins 1 (ai-proxy): 3.7 has no such plugin of a service",
        ),
        (
            "3.7.1",
            false,
            "plugins",
            &logs,
            "3.7 cannot be told plugins 9 (opentelemetry): 3.7 needs 'traces_endpoint'",
        ),
    ] {
        let error = said(version, has_streams, kind, row).unwrap_err();
        assert_eq!(error, format!("data planes of Kong {why}"));
    }
    let (row, _) = said("3.3.1", false, "plugins", &addresses).unwrap().unwrap();
    assert_eq!(row["protocols"], json!(["http"]));
    for (version, kind, row) in [
        ("3.4.0", "plugins", &addresses),
        ("3.7.0", "jwt_secrets", &token),
        ("3.8.0", "plugins", &logs),
        ("3.8.0", "plugins", &model),
    ] {
        let (sent, _) = said(version, true, kind, row).unwrap().unwrap();
        assert_eq!(sent["protocols"], row["protocols"], "{version}");
        assert_eq!(sent["algorithm"], row["algorithm"], "{version}");
    }
}
