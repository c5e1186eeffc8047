//! Every property with its value: typed, references resolved, defaults filled in.

use std::collections::BTreeMap;

use serde_json::json;

use super::property::{Kind, Support};
use super::source::Raw;
use super::{reference, table};

/// Stands for a value that must not be shown.
pub(super) const MASK: &str = "******";

/// The value of one property.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unset,
    Text(String),
    Flag(bool),
    Number(f64),
    List(Vec<String>),
}

/// One property: what was written and what it means.
#[derive(Clone)]
struct Held {
    /// The text as written, references unresolved; `None` when it is the default.
    written: Option<String>,
    value: Value,
    refers: bool,
}

/// Every property with its value.
#[derive(Clone, Default)]
pub(super) struct Values {
    held: BTreeMap<String, Held>,
}

impl Values {
    /// Types every property; what is wrong goes to `errors`, what is odd to `warnings`.
    pub(super) fn new(
        mut raw: Raw,
        env: &BTreeMap<String, String>,
        errors: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Self {
        expand_aliases(&mut raw.set);
        warnings.append(&mut raw.warnings);
        let vault_prefix = raw.set.get("vault_env_prefix").cloned().unwrap_or_default();
        let mut values = Self::default();
        for property in table::ALL {
            let written = raw.set.remove(property.name);
            let text = written.as_deref().or(property.default);
            let refers = text.is_some_and(|it| it.contains("{vault://"));
            let mut reading = Reading { name: property.name, env, vault_prefix: &vault_prefix };
            let value = reading.value(property.kind, text, errors, warnings);
            if property.support == Support::Missing && is_changed(property.default, &written) {
                let name = property.name;
                warnings.push(format!("{name} is not supported by this release: it is ignored"));
            }
            values.held.insert(property.name.to_owned(), Held { written, value, refers });
        }
        for (name, text) in raw.set {
            if !name.starts_with("vault_env_") {
                warnings.push(format!("{name} is not supported by this release: it is ignored"));
            }
            let refers = reference::is_reference(&text);
            let value = if text.is_empty() { Value::Unset } else { Value::Text(text.clone()) };
            values.held.insert(name, Held { written: Some(text), value, refers });
        }
        values
    }

    pub(super) fn value(&self, name: &str) -> &Value {
        self.held.get(name).map_or(&Value::Unset, |it| &it.value)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Flag(set) => *set,
            Value::Text(text) => text == "on",
            _ => false,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        match self.value(name) {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Replaces a value that was inline by the file that now holds it.
    pub(super) fn replace(&mut self, name: &str, value: Value) {
        let Some(held) = self.held.get_mut(name) else { return };
        if !held.refers {
            held.written = Some(match &value {
                Value::List(items) => items.join(", "),
                Value::Text(text) => text.clone(),
                _ => return,
            });
        }
        held.value = value;
    }

    /// Returns what was set explicitly, references unresolved.
    ///
    /// What merely follows from an alias is left out, so that the alias can be set anew later.
    pub(super) fn written(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |name: &str| self.held.get(name).and_then(|it| it.written.as_deref());
        let follows = move |name: &str, value: &str| {
            let mut aliases = table::ALIASES.iter().filter(|it| it.1.contains(&name));
            aliases.any(|(alias, _)| text(alias) == Some(value))
        };
        self.held
            .iter()
            .filter_map(|(name, held)| Some((name.as_str(), held.written.as_deref()?)))
            .filter(move |(name, value)| !follows(name, value))
    }

    /// Returns every property as JSON: secrets masked, references as references.
    pub(super) fn masked(&self) -> serde_json::Map<String, serde_json::Value> {
        self.held.iter().map(|(name, held)| (name.clone(), held.masked(name))).collect()
    }
}

impl Held {
    fn masked(&self, name: &str) -> serde_json::Value {
        let sensitive = table::find(name).is_some_and(|it| it.sensitive);
        match &self.value {
            Value::Unset => json!(null),
            _ if sensitive => json!(MASK),
            _ if self.refers => json!(self.written),
            Value::Text(text) => json!(text),
            Value::Flag(set) => json!(set),
            Value::Number(it) => whole(*it).map_or_else(|| json!(it), |it| json!(it)),
            Value::List(items) => json!(items),
        }
    }
}

/// Returns the number as an integer if it is one.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

fn expand_aliases(set: &mut BTreeMap<String, String>) {
    for (name, targets) in table::ALIASES {
        let Some(value) = set.get(*name).cloned() else { continue };
        for target in *targets {
            set.entry((*target).to_owned()).or_insert_with(|| value.clone());
        }
    }
}

fn is_changed(default: Option<&str>, written: &Option<String>) -> bool {
    let Some(written) = written else { return false };
    let plain = |it: &str| match it.split_whitespace().collect::<String>() {
        it if it == "true" => "on".to_owned(),
        it if it == "false" => "off".to_owned(),
        it => it,
    };
    let empty_or_off = |it: &str| it.is_empty() || it == "off";
    match default {
        Some(default) => plain(default) != plain(written) && !empty_or_off(&plain(written)),
        None => !written.is_empty(),
    }
}

/// The reading of one property.
struct Reading<'a> {
    name: &'static str,
    env: &'a BTreeMap<String, String>,
    vault_prefix: &'a str,
}

impl Reading<'_> {
    fn value(
        &mut self,
        kind: Kind,
        text: Option<&str>,
        errors: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Value {
        if kind == Kind::List {
            let items = text.filter(|it| !it.is_empty()).map(split_list).unwrap_or_default();
            let one = items.len() == 1;
            let resolve = |(index, item): (usize, String)| {
                let place = (!one).then_some(index + 1);
                self.resolved(&item, place, errors)
            };
            let items: Vec<String> = items.into_iter().enumerate().filter_map(resolve).collect();
            return if items.is_empty() { Value::Unset } else { Value::List(items) };
        }
        let text = text.and_then(|it| self.resolved(it, None, errors));
        let name = self.name;
        match (kind, text.filter(|it| !it.is_empty())) {
            (Kind::Enum(words), text) if text.as_deref().is_none_or(|it| !words.contains(&it)) => {
                if name != "database" || text.as_deref() != Some("cassandra") {
                    let words = words.join(", ");
                    let value = text.as_deref().unwrap_or("nil");
                    errors.push(format!("{name} has an invalid value: '{value}' ({words})"));
                }
                text.map_or(Value::Unset, Value::Text)
            }
            (_, None) => Value::Unset,
            (Kind::Flag, Some(text)) => Value::Flag(self.is_on(&text, warnings)),
            (Kind::NginxFlag, Some(text)) => {
                let word = if self.is_on(&text, warnings) { "on" } else { "off" };
                Value::Text(word.to_owned())
            }
            (Kind::Number, Some(text)) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Number(number),
                _ => {
                    errors.push(format!("{name} is not a number: '{text}'"));
                    Value::Unset
                }
            },
            (_, Some(text)) => Value::Text(text),
        }
    }

    /// Kong takes every other word for off without a sound; here it is at least heard.
    fn is_on(&self, text: &str, warnings: &mut Vec<String>) -> bool {
        if !matches!(text, "on" | "true" | "off" | "false") {
            warnings.push(format!("{}: '{text}' is neither on nor off, taken as off", self.name));
        }
        matches!(text, "on" | "true")
    }

    fn resolved(&self, text: &str, at: Option<usize>, errors: &mut Vec<String>) -> Option<String> {
        if !reference::is_reference(text) {
            return Some(text.to_owned());
        }
        match reference::resolve(text, self.env, self.vault_prefix) {
            Ok(value) => Some(value),
            Err(reason) => {
                let place = at.map(|it| format!("[{it}]")).unwrap_or_default();
                let option = format!("for config option '{}{place}'", self.name);
                errors.push(format!("failed to dereference '{text}': {reason} {option}"));
                None
            }
        }
    }
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(|it| it.trim().to_owned()).collect()
}
