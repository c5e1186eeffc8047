//! Documents made from the schemas themselves: what is accepted is shown as it was sent and survives
//! export and import, what is refused changes nothing.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use super::start;
use crate::admin::tests::app::App;
use crate::clock::Clock;
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::decide::{self, Fresh};
use crate::domain::declarative;
use crate::domain::entity::Kind;
use crate::domain::kinds::{plugin, target, upstream};
use crate::domain::pem::tests::samples;
use crate::domain::schema::{Field, Mark, Schema, Type, UnknownNull, Validator, check_value};
use crate::snapshot::Snapshot;

/// How many documents are sent.
const DOCUMENTS: usize = 400;

/// The fields that are shown otherwise than they were sent: hashed, settled, derived, or given by
/// the path.
const SETTLED: &[&str] = &[
    "password",
    "client_secret",
    "target",
    "algorithm",
    "hash_on",
    "ttl",
    "cert_digest",
    "upstream",
];

#[tokio::test]
async fn documents_are_kept_as_they_were_sent_or_change_nothing() {
    let seed = Clock::System.id().as_u128() as u64;
    let app = start().await;
    let catalog = app.admin.0.catalog.clone();
    let mut maker = Maker { rng: StdRng::seed_from_u64(seed), made: BTreeMap::new(), count: 0 };
    let (mut accepted, mut refused) = (BTreeMap::new(), 0);
    for _ in 0..DOCUMENTS {
        let reachable: Vec<_> = catalog.schemas().filter(|schema| !schema.unreachable).collect();
        let schema = reachable[maker.rng.random_range(0..reachable.len())];
        let Some(document) = maker.document(&catalog, schema) else { continue };
        let path = maker.path(schema);
        let before = hash(&app);
        let answer = app.send("POST", &path, Value::Object(document.clone())).await;
        let told = || format!("seed {seed}: {path} {document:?}: {}", answer.text);
        if answer.status != 201 {
            assert!([400, 409].contains(&answer.status.as_u16()), "{}", told());
            assert_eq!(hash(&app), before, "{}", told());
            refused += 1;
            continue;
        }
        let shown = answer.json();
        let id = shown["id"].as_str().unwrap().to_owned();
        assert_eq!(app.get(&format!("{path}/{id}")).await.json(), shown, "{}", told());
        for (name, value) in document.iter().filter(|(name, _)| !SETTLED.contains(&name.as_str())) {
            assert!(holds(&shown[name], value), "{name}: {}", told());
        }
        maker.made.entry(schema.kind).or_default().push(id);
        *accepted.entry(schema.kind).or_insert(0) += 1;
    }
    let kinds = catalog.schemas().filter(|schema| !schema.unreachable).count();
    assert!(refused > DOCUMENTS / 20, "seed {seed}: {refused} refused");
    assert!(accepted.len() > kinds * 3 / 4, "seed {seed}: {accepted:?}");
    survives_export(&app, &catalog, seed);
}

fn hash(app: &App) -> String {
    app.admin.0.store.head().config_hash.to_string()
}

fn survives_export(app: &App, catalog: &Catalog, seed: u64) {
    let head = app.admin.0.store.head();
    let tree = declarative::export(catalog, head.snapshot.config());
    let text = tree.to_string();
    let tree = serde_json::from_str(&text).unwrap();
    let mut id = || Clock::System.id();
    let mut fresh = Fresh { at: Clock::System.now(), id: &mut id };
    let entities = declarative::parse(catalog, &tree, &mut fresh);
    let entities = entities.unwrap_or_else(|error| panic!("seed {seed}: {}", error.message()));
    let config = decide::assemble(catalog, entities).unwrap();
    assert_eq!(Snapshot::of(config).hash(), head.config_hash, "seed {seed}");
}

/// Returns whether what is shown holds what was sent; more may have been filled in.
fn holds(shown: &Value, sent: &Value) -> bool {
    match (shown, sent) {
        (Value::Object(shown), Value::Object(sent)) => {
            sent.iter().all(|(name, value)| holds(shown.get(name).unwrap_or(&Value::Null), value))
        }
        (Value::Array(shown), Value::Array(sent)) => {
            shown.len() == sent.len() && shown.iter().zip(sent).all(|(a, b)| holds(a, b))
        }
        // To Kong an empty list and an empty object are one.
        (Value::Array(shown), Value::Object(sent)) => shown.is_empty() && sent.is_empty(),
        (Value::Object(_), Value::Array(sent)) => sent.is_empty(),
        (Value::Number(shown), Value::Number(sent)) => shown.as_f64() == sent.as_f64(),
        (shown, sent) => shown == sent,
    }
}

/// Makes documents of schemas.
struct Maker {
    rng: StdRng,
    /// The ids of what was accepted.
    made: BTreeMap<Kind, Vec<String>>,
    count: usize,
}

const TEXTS: &[&str] = &[
    "a",
    "text",
    "b-c.test",
    "/",
    "/path",
    "GET",
    "10.0.0.1",
    "x_y",
    "*.test",
    "https://a.test/b",
    "00000000-0000-4000-8000-000000000001",
    "A1B2",
    "return true",
    "a:b",
    "60",
    "{vault://env/a}",
];

const NUMBERS: &[i64] =
    &[0, 1, 2, 5, 10, 60, 100, 200, 301, 404, 426, 443, 600, 8000, 60_000, 65_535, 1_000_000];

impl Maker {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<'v, T>(&mut self, values: &'v [T]) -> Option<&'v T> {
        if values.is_empty() {
            return None;
        }
        values.get(self.rng.random_range(0..values.len()))
    }

    /// Returns the collection that documents go to.
    fn path(&self, schema: &Schema) -> String {
        match self.made.get(&upstream::KIND).and_then(|ids| ids.first()) {
            Some(id) if schema.kind == target::KIND => format!("/upstreams/{id}/targets"),
            _ => format!("/{}", schema.admin_path),
        }
    }

    /// Makes a document that is mostly good; none while what it must refer to is not there.
    fn document(&mut self, catalog: &Catalog, schema: &Schema) -> Option<Document> {
        self.count += 1;
        let mut document = self.seed(catalog, schema.kind.name());
        let fields = catalog.fields(schema.kind, &document);
        for (name, field) in fields.iter() {
            if let Type::Foreign { kind, .. } = field.ty {
                let known = self.made.get(&kind).cloned().unwrap_or_default();
                let id = self.pick(&known).cloned();
                if field.required || (schema.kind == plugin::KIND && self.chance(30)) {
                    let id = if field.required { id? } else { id.unwrap_or_default() };
                    document.insert(name.into(), json!({"id": id}));
                }
                continue;
            }
            let free = field.auto.is_none() && !field.is(Mark::Transient);
            if free && !document.contains_key(name) && self.chance(25) {
                document.extend(self.value(field).map(|value| (name.to_owned(), value)));
            }
        }
        if self.chance(25) {
            self.spoil(&mut document);
        }
        Some(document)
    }

    /// Returns what a document of a kind cannot do without.
    fn seed(&mut self, catalog: &Catalog, kind: &str) -> Document {
        let n = self.count;
        let name = format!("n{n}");
        let body = match kind {
            "services" => json!({"host": "a.test"}),
            "routes" => json!({"paths": [format!("/{n}")]}),
            "consumers" => json!({"username": name}),
            "upstreams" => json!({"name": name}),
            "targets" => json!({"target": format!("{name}.test")}),
            "plugins" => {
                let names: Vec<_> = catalog.plugins().map(|plugin| plugin.name).collect();
                json!({"name": self.pick(&names)})
            }
            "certificates" => {
                let pair = [samples::ec(), samples::ed25519()][n % 2];
                json!({"cert": pair.cert, "key": pair.key})
            }
            "ca_certificates" => {
                let ca = [samples::ca(), samples::other_ca()][n % 2];
                json!({"cert": ca.cert})
            }
            "snis" => json!({"name": format!("{name}.test")}),
            "vaults" => json!({"prefix": format!("v{n}x"), "name": "env"}),
            "keys" => json!({"kid": name, "jwk": samples::jwk(&name)}),
            "basicauth_credentials" => json!({"username": name, "password": "hush"}),
            "hmacauth_credentials" => json!({"username": name}),
            "acls" => json!({"group": name}),
            "oauth2_credentials" => json!({"name": name}),
            "oauth2_tokens" => json!({"expires_in": 60}),
            "sessions" => json!({"session_id": name}),
            _ => json!({}),
        };
        body.as_object().unwrap().clone()
    }

    /// Puts something wrong, or something else, into a document.
    fn spoil(&mut self, document: &mut Document) {
        let wrong = [
            json!(17),
            json!(-1),
            json!(1.5),
            json!(""),
            json!("no such"),
            json!(true),
            json!([]),
            json!([1, "a"]),
            json!({}),
            json!({"no": "such"}),
            Value::Null,
        ];
        let names: Vec<_> = document.keys().cloned().collect();
        let name = match self.pick(&names) {
            Some(name) if self.rng.random_range(0..5) > 0 => name.clone(),
            _ => "no_such_field".to_owned(),
        };
        let value = self.pick(&wrong).cloned().unwrap_or_default();
        document.insert(name, value);
    }

    /// Makes a value that a field admits, as far as it is easily found.
    fn value(&mut self, field: &Field) -> Option<Value> {
        let allowed = field.validators.iter().find_map(|rule| match rule {
            Validator::OneOf(values) => Some(values.clone()),
            _ => None,
        });
        for _ in 0..20 {
            let value = match (&allowed, &field.ty) {
                (Some(values), _) => self.pick(values)?.clone(),
                (None, Type::String) => (*self.pick(TEXTS)?).into(),
                (None, Type::Integer | Type::Number) => (*self.pick(NUMBERS)?).into(),
                (None, Type::Boolean) => self.rng.random::<bool>().into(),
                (None, Type::Array(element) | Type::Set(element)) => {
                    let mut items: Vec<Value> = Vec::new();
                    for _ in 0..self.rng.random_range(0..4) {
                        let item = self.value(element)?;
                        if !items.contains(&item) {
                            items.push(item);
                        }
                    }
                    items.into()
                }
                (None, Type::Map(keys, values)) => {
                    let key = self.value(keys)?.as_str()?.to_owned();
                    Value::Object(Map::from_iter([(key, self.value(values)?)]))
                }
                (None, Type::Record(fields)) => {
                    let mut record = Map::new();
                    for (name, field) in fields.iter() {
                        if field.auto.is_none() && (field.required || self.chance(40)) {
                            record.extend(self.value(field).map(|value| (name.to_owned(), value)));
                        }
                    }
                    Value::Object(record)
                }
                (None, Type::Foreign { .. } | Type::Abstract | Type::Json(_)) => return None,
            };
            if matches!(field.ty, Type::Record(_))
                || check_value(field, &value, UnknownNull::Refuse).is_none()
            {
                return Some(value);
            }
        }
        None
    }
}
