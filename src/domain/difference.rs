//! Differences between two configs, by entity and field, with secrets masked.
//!
//! A value is shown where it is known to be no secret: numbers, truth values, ids and choices
//! always, texts of entities unless schema or name says that they are secret, and texts of the
//! `config` of a plugin or vault never, because any of them may be a header or an address with a password.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::canonical::Document;
use super::catalog::Catalog;
use super::config::Config;
use super::entity::{Entity, Key, Kind};
use super::event::Change;
use super::kinds::plugin;
use super::schema::{Auto, Field, Mark, Type, Validator};

/// What stands for a secret.
const MASK: &str = "***";

/// Words that make a field's name one of a secret.
const SECRET_WORDS: &[&str] = &[
    "code",
    "credential",
    "data",
    "jwk",
    "key",
    "password",
    "pem",
    "private",
    "secret",
    "session",
    "token",
    "value",
];

/// What a change does to one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Whether the entity comes, stays or goes.
    pub verb: Verb,
    /// Which entity.
    pub key: Key,
    /// What people call it.
    pub name: Option<String>,
    /// The fields that differ, by path.
    pub fields: Vec<FieldDifference>,
}

/// Whether an entity comes, stays or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It was not there.
    Created,
    /// It was there, and is.
    Updated,
    /// It is gone.
    Deleted,
}

/// What a change does to one field; secrets are masked.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDifference {
    /// The names that lead to the field, joined by dots.
    pub path: String,
    /// Its value before; none if it had none.
    pub from: Option<Value>,
    /// Its value afterwards; none if it has none.
    pub to: Option<Value>,
}

impl Verb {
    /// Returns the verb as a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

impl Difference {
    /// Tells what a change does to a config.
    pub fn of(catalog: &Catalog, before: &Config, change: &Change) -> Self {
        let key = change.key();
        let old = before.find(key);
        let new = match change {
            Change::Upserted(entity) => Some(entity),
            Change::Deleted(_) => None,
        };
        let verb = match (old, new) {
            (_, None) => Verb::Deleted,
            (None, Some(_)) => Verb::Created,
            (Some(_), Some(_)) => Verb::Updated,
        };
        let fields = fields(catalog, key.kind, old, new);
        Self { verb, key, name: new.or(old).and_then(name), fields }
    }

    /// Returns it as JSON; null is none.
    pub fn to_json(&self) -> Value {
        let fields = self.fields.iter().map(|FieldDifference { path, from, to }| {
            (path.clone(), json!({"from": from, "to": to}))
        });
        json!({
            "change": self.verb.name(),
            "kind": self.key.kind.name(),
            "id": self.key.id,
            "name": self.name,
            "fields": fields.collect::<Document>(),
        })
    }
}

/// Returns what people call an entity. Not its endpoint key: that of a credential is the secret.
pub fn name(entity: &Entity) -> Option<String> {
    let document = entity.document();
    let name = document.get("name").or_else(|| document.get("username"));
    name.and_then(Value::as_str).map(str::to_owned)
}

/// Returns the values of an entity by their paths; secrets are masked.
pub fn masked(catalog: &Catalog, entity: &Entity) -> BTreeMap<String, Value> {
    let fields = fields(catalog, entity.kind(), None, Some(entity));
    fields.into_iter().filter_map(|field| Some((field.path, field.to?))).collect()
}

/// Returns the values of a document by their dotted paths, as they are; lists are values.
pub fn leaves(document: Document) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    flatten(&mut leaves, None, document);
    leaves
}

/// Returns the fields that differ.
fn fields(
    catalog: &Catalog,
    kind: Kind,
    old: Option<&Entity>,
    new: Option<&Entity>,
) -> Vec<FieldDifference> {
    let [old, new] = [old, new].map(|entity| entity.map(Entity::document).unwrap_or_default());
    let plugin = new.get("name").or_else(|| old.get("name")).and_then(Value::as_str);
    let masks = Masks { catalog, kind, plugin: plugin.map(str::to_owned) };
    let [mut old, new] = [old, new].map(leaves);
    let mut both: BTreeMap<String, (Option<Value>, Option<Value>)> = BTreeMap::new();
    for (path, to) in new {
        let from = old.remove(&path);
        both.insert(path, (from, Some(to)));
    }
    both.extend(old.into_iter().map(|(path, from)| (path, (Some(from), None))));
    let differing = both.into_iter().filter(|(_, (from, to))| from != to);
    let masked = differing.map(|(path, (from, to))| {
        let [from, to] = [from, to].map(|value| value.map(|value| masks.apply(&path, value)));
        FieldDifference { path, from, to }
    });
    masked.collect()
}

/// Lists the values of a document by their dotted paths; lists are values.
fn flatten(leaves: &mut BTreeMap<String, Value>, above: Option<&str>, document: Document) {
    for (name, value) in document {
        let path = above.map_or_else(|| name.clone(), |above| format!("{above}.{name}"));
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(leaves, Some(&path), inner),
            value => drop(leaves.insert(path, value)),
        }
    }
}

/// Knows the secrets of one entity.
struct Masks<'c> {
    catalog: &'c Catalog,
    kind: Kind,
    /// The plugin that the entity configures, if it does.
    plugin: Option<String>,
}

impl Masks<'_> {
    /// Returns a value as it may be shown.
    fn apply(&self, path: &str, value: Value) -> Value {
        if is_plain(&value) || !self.is_secret(path) { value } else { MASK.into() }
    }

    fn is_secret(&self, path: &str) -> bool {
        let mut fields = Some(&self.catalog.schema(self.kind).fields);
        let mut found: Option<&Field> = None;
        for (depth, segment) in path.split('.').enumerate() {
            found = fields.and_then(|fields| fields.find(segment));
            if self.kind == plugin::KIND && (depth, segment) == (0, "config") {
                let plugin = self.plugin.as_deref().and_then(|name| self.catalog.plugin(name));
                found = plugin.map(|plugin| &plugin.config);
            }
            match found.map(|field| &field.ty) {
                // The id of a reference.
                Some(Type::Foreign { .. }) => return false,
                Some(Type::Record(inner)) => fields = Some(inner),
                _ => fields = None,
            }
        }
        match found {
            Some(field) if is_choice(field) => false,
            Some(field) if says_secret(field) => true,
            _ => path.starts_with("config.") || names_a_secret(path),
        }
    }
}

/// Returns whether a value is no text and holds none.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => members.is_empty(),
        value => !value.is_string(),
    }
}

/// Returns whether a schema says that a field is a secret, or may come out of a vault of secrets.
fn says_secret(field: &Field) -> bool {
    field.auto == Some(Auto::Secret) || field.is(Mark::Encrypted) || field.is(Mark::Referenceable)
}

/// Returns whether a field holds one or more of a few known texts.
fn is_choice(field: &Field) -> bool {
    match &field.ty {
        Type::Array(element) | Type::Set(element) => is_choice(element),
        _ => field.validators.iter().any(|validator| matches!(validator, Validator::OneOf(_))),
    }
}

fn names_a_secret(path: &str) -> bool {
    let words = path.split(['.', '_', '-']).map(str::to_ascii_lowercase);
    words.into_iter().any(|word| SECRET_WORDS.contains(&word.as_str()) || word.ends_with("key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::PluginSchema;
    use crate::domain::kinds::service;
    use crate::domain::schema::Schema;

    const ID: &str = "00000000-0000-4000-8000-000000000001";

    fn catalog() -> Catalog {
        let credentials = Schema::new(Kind::new("credentials"))
            .paths("credentials", "credentials")
            .field("auto", Field::string().auto(Auto::Secret))
            .field("client_secret", Field::string())
            .field("pass", Field::string().encrypted())
            .field("label", Field::string());
        let config = Field::record([
            ("minute", Field::number()),
            ("policy", Field::string().one_of(["local", "redis"])),
            ("header", Field::string()),
        ]);
        let plugin = PluginSchema::new("p", "3.9.1", 1).config(config).kind(credentials);
        Catalog::new(vec![plugin])
    }

    #[test]
    fn differences_are_by_field_and_secrets_are_masked() {
        let catalog = catalog();
        for (kind, old, new, fields) in [
            (
                service::KIND,
                json!({"host": "a", "port": 80, "tags": ["x"]}),
                json!({"host": "b", "port": 80, "path": "/p"}),
                json!({
                    "host": {"from": "a", "to": "b"},
                    "path": {"from": null, "to": "/p"},
                    "tags": {"from": ["x"], "to": null},
                }),
            ),
            (
                plugin::KIND,
                json!({"name": "p", "config": {"minute": 1, "policy": "local", "header": "a"}}),
                json!({"name": "p", "config": {"minute": 2, "policy": "redis", "header": "b"}, "service": {"id": ID}}),
                json!({
                    "config.minute": {"from": 1, "to": 2},
                    "config.policy": {"from": "local", "to": "redis"},
                    "config.header": {"from": MASK, "to": MASK},
                    "service.id": {"from": null, "to": ID},
                }),
            ),
            (
                Kind::new("credentials"),
                json!({"auto": "s1", "client_secret": "s2", "label": "l"}),
                json!({"auto": "s3", "client_secret": "s4", "label": "m", "pass": "s5"}),
                json!({
                    "auto": {"from": MASK, "to": MASK},
                    "client_secret": {"from": MASK, "to": MASK},
                    "label": {"from": "l", "to": "m"},
                    "pass": {"from": null, "to": MASK},
                }),
            ),
        ] {
            let entity = |mut document: Value| {
                document["id"] = ID.into();
                Entity::new(kind, document.as_object().unwrap()).unwrap()
            };
            let before = Config::of(&catalog, [entity(old)]);
            let shown = Difference::of(&catalog, &before, &Change::Upserted(entity(new))).to_json();
            assert_eq!((&shown["change"], &shown["fields"]), (&json!("updated"), &fields));
        }
    }

    #[test]
    fn names_of_secrets_are_known_by_their_words() {
        for (path, secret) in [
            ("key", true),
            ("pem.private_key", true),
            ("headers.X-Api-Key", true),
            ("access_token", true),
            ("headers.apikey", true),
            ("host", false),
            ("keepalive", false),
            ("paths", false),
        ] {
            assert_eq!(names_a_secret(path), secret, "{path}");
        }
    }
}
