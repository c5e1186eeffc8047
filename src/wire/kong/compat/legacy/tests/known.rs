//! What Kong 2.8.5 takes of a table: the fields of its schemas, and the texts that they may have. As
//! there, an unknown field is an error unless it is null.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// By kind and by plugin, as Kong's schemas have them.
static FIELDS: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../../../../tests/fixtures/kong-2.8/fields.json");
    serde_json::from_str(text).unwrap()
});

/// Returns its plugins, with their versions.
pub(crate) fn plugins() -> Vec<(&'static str, &'static str)> {
    let plugins = FIELDS["plugins"].as_object().unwrap().iter();
    plugins.map(|(name, of)| (name.as_str(), of["version"].as_str().unwrap())).collect()
}

/// Returns what it does not take of a table.
pub(crate) fn faults(table: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (kind, rows) in table.as_object().unwrap() {
        match kind.as_str() {
            "_format_version" if [json!("1.1"), json!("2.1")].contains(rows) => {}
            "_transform" => {}
            _ if FIELDS["entities"][kind].is_null() => {
                faults.push(format!("{kind}: unknown field"))
            }
            _ => rows.as_array().unwrap().iter().for_each(|row| of_row(kind, row, &mut faults)),
        }
    }
    faults
}

fn of_row(kind: &str, row: &Value, faults: &mut Vec<String>) {
    let mut row = row.clone();
    if kind == "plugins" {
        let name = row["name"].as_str().unwrap().to_owned();
        let of = &FIELDS["plugins"][&name];
        let config = row.as_object_mut().unwrap().remove("config").unwrap();
        differs(&format!("{name}.config"), &config, &of["config"], faults);
        differs(&format!("{name}.protocols"), &row["protocols"], &of["protocols"], faults);
    }
    for path in row["paths"].as_array().into_iter().flatten() {
        if !path.as_str().unwrap().starts_with('/') {
            faults.push(format!("{kind}.paths: should start with: /"));
        }
    }
    differs(kind, &row, &FIELDS["entities"][kind], faults);
}

fn differs(at: &str, value: &Value, known: &Value, faults: &mut Vec<String>) {
    match (value, known) {
        (Value::Array(items), _) => items.iter().for_each(|it| differs(at, it, known, faults)),
        (Value::Object(fields), Value::Object(known)) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                match known.get(name) {
                    Some(known) => differs(&format!("{at}.{name}"), value, known, faults),
                    None => faults.push(format!("{at}.{name}: unknown field")),
                }
            }
        }
        (Value::String(_), Value::Array(texts)) if !texts.contains(value) => {
            faults.push(format!("{at}: expected one of: {known}, not {value}"));
        }
        _ => {}
    }
}
