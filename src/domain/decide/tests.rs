//! Deciding writes, each against a small config.

use chrono::DateTime;
use serde_json::{Value, json};

use super::*;
use crate::domain::kinds::{consumer, plugin, route, service, target, upstream};

fn catalog() -> Catalog {
    Catalog::new(Vec::new())
}

/// A config under test and the counter that its ids come from.
struct World {
    catalog: Catalog,
    config: Config,
    drawn: u128,
}

impl World {
    fn new() -> Self {
        Self { catalog: catalog(), config: Config::default(), drawn: 0 }
    }

    fn decide(
        &mut self,
        decide: impl FnOnce(&Catalog, &Config, &mut Fresh<'_>) -> Result<Decision, Rejection>,
    ) -> Result<Document, Rejection> {
        let drawn = &mut self.drawn;
        let mut id = || {
            *drawn += 1;
            Uuid::from_u128(*drawn)
        };
        let at = DateTime::from_timestamp(1_700_000_000, 500_000_000).unwrap();
        let decision = decide(&self.catalog, &self.config, &mut Fresh { at, id: &mut id })?;
        for change in &decision.changes {
            self.config.apply(&self.catalog, change);
        }
        Ok(decision.entity.document())
    }

    fn post(&mut self, kind: Kind, body: Value) -> Result<Document, Rejection> {
        self.decide(|catalog, config, fresh| post(catalog, config, kind, object(body), fresh))
    }

    fn put(&mut self, kind: Kind, segment: &str, body: Value) -> Result<Document, Rejection> {
        self.decide(|catalog, config, fresh| {
            let target = Target::parse(catalog.schema(kind), segment)?;
            put(catalog, config, kind, &target, object(body), fresh)
        })
    }

    fn patch(&mut self, kind: Kind, segment: &str, body: Value) -> Result<Document, Rejection> {
        self.decide(|catalog, config, fresh| {
            let target = Target::parse(catalog.schema(kind), segment)?;
            patch(catalog, config, kind, &target, object(body), fresh)
        })
    }

    fn delete(&mut self, kind: Kind, id: u128) -> Result<Vec<Change>, Rejection> {
        let key = Key { kind, id: Uuid::from_u128(id) };
        let changes = delete(&self.catalog, &self.config, key)?;
        for change in &changes {
            self.config.apply(&self.catalog, change);
        }
        Ok(changes)
    }
}

fn object(value: Value) -> Document {
    let Value::Object(document) = value else { panic!("a document is an object") };
    document
}

fn message(result: Result<Document, Rejection>) -> String {
    result.unwrap_err().message()
}

#[test]
fn post_fills_defaults_and_drops_nulls() {
    let mut world = World::new();
    let service = world.post(service::KIND, json!({"host": "a", "path": null})).unwrap();

    assert_eq!(service["protocol"], "http");
    assert_eq!(service["retries"], 5);
    assert_eq!(service["created_at"], 1_700_000_000);
    assert!(!service.contains_key("path"), "an absent key means null");
    let shown = world.catalog.present(service::KIND, service);
    assert_eq!(shown["path"], Value::Null);
}

#[test]
fn post_says_what_is_wrong_as_kong_does() {
    let mut world = World::new();
    assert_eq!(
        message(world.post(service::KIND, json!({}))),
        "schema violation (host: required field missing)"
    );
    assert_eq!(
        message(world.post(consumer::KIND, json!({}))),
        "schema violation (at least one of these fields must be non-empty: 'custom_id', 'username')"
    );
    let rejection =
        world.post(service::KIND, json!({"host": "a", "foo": 1, "port": "x"})).unwrap_err();
    assert_eq!(rejection.fields(), json!({"foo": "unknown field", "port": "expected an integer"}));
    assert_eq!(
        message(world.post(route::KIND, json!({"protocols": ["http"]}))),
        "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths' when \
         'protocols' is 'http')"
    );
    assert_eq!(
        message(world.post(plugin::KIND, json!({"name": "nope"}))),
        "schema violation (name: plugin 'nope' not enabled; add it to the 'plugins' configuration \
         property)"
    );
}

#[test]
fn url_is_a_shorthand_that_wins() {
    let mut world = World::new();
    let body = json!({"url": "https://example.test/api?x", "port": 1, "host": "other"});
    let service = world.post(service::KIND, body).unwrap();
    let seen = (&service["protocol"], &service["host"], &service["port"], &service["path"]);
    assert_eq!(seen, (&json!("https"), &json!("example.test"), &json!(443), &json!("/api")));
    let patched =
        world.patch(service::KIND, service["id"].as_str().unwrap(), json!({"url": "http://b:99"}));
    let patched = patched.unwrap();
    assert_eq!((&patched["host"], &patched["port"]), (&json!("b"), &json!(99)));
    assert!(!patched.contains_key("path"));
}

#[test]
fn names_and_ids_are_unique() {
    let mut world = World::new();
    world.post(service::KIND, json!({"host": "a", "name": "s"})).unwrap();
    let again = world.post(service::KIND, json!({"host": "a", "name": "s"})).unwrap_err();
    assert_eq!(
        (again.code(), again.message().as_str()),
        (5, "UNIQUE violation detected on '{name=\"s\"}'")
    );
    let id = Uuid::from_u128(1).to_string();
    let same_id = world.post(service::KIND, json!({"host": "a", "id": id})).unwrap_err();
    assert_eq!(same_id.code(), 3);
}

#[test]
fn references_resolve_by_id_or_name_or_are_refused() {
    let mut world = World::new();
    world.post(service::KIND, json!({"host": "a", "name": "s"})).unwrap();
    let route = world.post(route::KIND, json!({"paths": ["/"], "service": {"name": "s"}})).unwrap();
    assert_eq!(route["service"], json!({"id": Uuid::from_u128(1)}));
    let missing = world.post(route::KIND, json!({"paths": ["/"], "service": {"name": "t"}}));
    assert_eq!(missing.unwrap_err().code(), 13);
    let dangling = json!({"paths": ["/"], "service": {"id": Uuid::from_u128(99)}});
    assert_eq!(
        message(world.post(route::KIND, dangling)),
        "the foreign key '{id=\"00000000-0000-0000-0000-000000000063\"}' does not reference an \
         existing 'services' entity."
    );
}

#[test]
fn put_replaces_and_patch_merges() {
    let mut world = World::new();
    world.put(service::KIND, "s", json!({"host": "a", "retries": 1, "path": "/x"})).unwrap();
    let replaced = world.put(service::KIND, "s", json!({"host": "b"})).unwrap();
    assert_eq!((&replaced["retries"], replaced.contains_key("path")), (&json!(5), false));
    assert_eq!(replaced["id"], Uuid::from_u128(1).to_string());
    let patched = world.patch(service::KIND, "s", json!({"retries": 2, "read_timeout": null}));
    let patched = patched.unwrap();
    assert_eq!((&patched["host"], &patched["retries"]), (&json!("b"), &json!(2)));
    assert!(!patched.contains_key("read_timeout"), "an explicit null is kept as null");
    let absent = world.patch(service::KIND, "t", json!({})).unwrap_err();
    assert_eq!(absent.message(), "could not find the entity with '{name=\"t\"}'");
}

#[test]
fn a_write_that_changes_nothing_is_no_change() {
    let mut world = World::new();
    world.put(service::KIND, "s", json!({"host": "a"})).unwrap();
    let config = world.config.clone();
    world.put(service::KIND, "s", json!({"host": "a"})).unwrap();
    world.patch(service::KIND, "s", json!({})).unwrap();
    assert_eq!(world.config, config);
}

#[test]
fn delete_refuses_a_service_that_a_route_needs() {
    let mut world = World::new();
    world.post(service::KIND, json!({"host": "a"})).unwrap();
    world
        .post(route::KIND, json!({"paths": ["/"], "service": {"id": Uuid::from_u128(1)}}))
        .unwrap();

    let rejection = world.delete(service::KIND, 1).unwrap_err();

    assert_eq!(rejection, Rejection::Referenced { kind: service::KIND, by: route::KIND });
}

#[test]
fn delete_takes_targets_with_their_upstream() {
    let mut world = World::new();
    world.post(upstream::KIND, json!({"name": "u"})).unwrap();
    let target_body = json!({"target": "h", "upstream": {"id": Uuid::from_u128(1)}});
    let target = world.post(target::KIND, target_body.clone()).unwrap();
    assert_eq!(
        (&target["target"], &target["created_at"]),
        (&json!("h:8000"), &json!(1_700_000_000.5))
    );
    assert_eq!(world.post(target::KIND, target_body).unwrap_err().code(), 5);

    assert_eq!(world.delete(upstream::KIND, 1).unwrap().len(), 2);
    assert!(world.config.is_empty());
}

#[test]
fn hashing_and_algorithm_settle_each_other() {
    let mut world = World::new();
    let header = json!({"name": "u", "hash_on": "header", "hash_on_header": "x"});
    let hashing = world.post(upstream::KIND, header).unwrap();
    assert_eq!(hashing["algorithm"], "consistent-hashing");
    let patched = world.patch(upstream::KIND, "u", json!({"algorithm": "least-connections"}));
    assert_eq!(patched.unwrap()["hash_on"], "none");
    assert_eq!(
        message(world.post(upstream::KIND, json!({"name": "v", "hash_on": "header"}))),
        "2 schema violations (failed conditional validation given value of field 'hash_on'; \
         hash_on_header: required field missing)"
    );
}

#[test]
fn assemble_names_every_broken_entity() {
    let mut world = World::new();
    world.post(service::KIND, json!({"host": "a"})).unwrap();
    world
        .post(route::KIND, json!({"paths": ["/"], "service": {"id": Uuid::from_u128(1)}}))
        .unwrap();
    let all: Vec<_> = world.config.iter().cloned().collect();
    assert_eq!(assemble(&world.catalog, all.clone()).unwrap(), world.config);

    let routes = all.into_iter().filter(|entity| entity.kind() == route::KIND);
    let wrong = assemble(&world.catalog, routes).unwrap_err();
    assert!(matches!(&wrong[..], [(_, Rejection::DanglingReference { .. })]), "{wrong:?}");
}
