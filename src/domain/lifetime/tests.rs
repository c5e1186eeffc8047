//! Entities that end by themselves, as time goes by.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::catalog::{Catalog, PluginSchema};
use crate::domain::config::Config;
use crate::domain::decide::{self, Decision, Fresh, Target};
use crate::domain::entity::{Key, Kind};
use crate::domain::kinds::typedef;
use crate::domain::schema::{Auto, Field};
use crate::domain::view;

const KIND: Kind = Kind::new("sparks");

/// A config of one kind with `ttl`, and its time.
struct World {
    catalog: Catalog,
    config: Config,
    at: DateTime<Utc>,
    drawn: u128,
}

impl World {
    fn new() -> Self {
        let sparks = Schema::new(KIND)
            .endpoint_key("key")
            .field("id", typedef::id())
            .field("key", Field::string().unique())
            .field("created_at", Field::integer().auto(Auto::CreatedAt))
            .ttl();
        let catalog = Catalog::new(vec![PluginSchema::new("spark", "1", 1).kind(sparks)]);
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        Self { catalog, config: Config::default(), at, drawn: 0 }
    }

    fn pass(&mut self, seconds: i64) {
        self.at += TimeDelta::seconds(seconds);
    }

    fn write(&mut self, verb: &str, body: Value) -> Result<Decision, Rejection> {
        let drawn = &mut self.drawn;
        let mut id = || {
            *drawn += 1;
            Uuid::from_u128(*drawn)
        };
        let mut fresh = Fresh { at: self.at, id: &mut id };
        let (catalog, config) = (&self.catalog, &self.config);
        let body = body.as_object().unwrap().clone();
        let target = Target::Name("key", "k".into());
        let decision = match verb {
            "post" => decide::post(catalog, config, KIND, body, &mut fresh),
            "put" => decide::put(catalog, config, KIND, &target, body, &mut fresh),
            _ => decide::patch(catalog, config, KIND, &target, body, &mut fresh),
        }?;
        for change in &decision.changes {
            self.config.apply(&self.catalog, change);
        }
        Ok(decision)
    }

    fn entity(&self) -> &Entity {
        Target::Name("key", "k".into()).find(&self.config, KIND).unwrap()
    }

    /// Returns the seconds that a client sees.
    fn shown(&self) -> Value {
        view::show(&self.catalog, &self.config, self.entity(), self.at)[FIELD].clone()
    }

    fn is_over(&self) -> bool {
        is_over(self.catalog.schema(KIND), self.entity(), self.at)
    }
}

#[test]
fn what_remains_is_shown_until_the_time_is_over() {
    let mut world = World::new();
    world.write("post", json!({"key": "k", "ttl": 100})).unwrap();
    assert_eq!(world.shown(), 100);
    world.pass(40);
    assert_eq!((world.shown(), world.is_over()), (json!(60), false));
    world.pass(60);
    assert_eq!((world.shown(), world.is_over()), (json!(0), true));
}

#[test]
fn a_patch_counts_from_now() {
    let mut world = World::new();
    world.write("post", json!({"key": "k", "ttl": "100"})).unwrap();
    world.pass(40);
    world.write("patch", json!({})).unwrap();
    assert_eq!(world.shown(), 60, "what is not spoken of stays");
    world.write("patch", json!({"ttl": 100})).unwrap();
    assert_eq!(world.shown(), 100);
    world.pass(99);
    assert!(!world.is_over());
    for end in [json!(0), Value::Null] {
        world.write("patch", json!({"ttl": 5})).unwrap();
        world.write("patch", json!({"ttl": end})).unwrap();
        assert_eq!((world.shown(), world.is_over()), (Value::Null, false));
    }
}

#[test]
fn the_same_put_later_ends_later() {
    let mut world = World::new();
    world.write("put", json!({"ttl": 100})).unwrap();
    world.pass(40);
    assert_eq!(world.write("put", json!({"ttl": 100})).unwrap().changes.len(), 1);
    assert_eq!(world.shown(), 100);
    world.write("put", json!({})).unwrap();
    world.pass(40);
    assert_eq!(
        world.write("put", json!({})).unwrap().changes.len(),
        0,
        "without end nothing moves"
    );
}

#[test]
fn an_entity_whose_time_is_over_gives_way() {
    let mut world = World::new();
    let first = world.write("post", json!({"key": "k", "ttl": 10})).unwrap().entity.id();
    let again = world.write("post", json!({"key": "k"})).unwrap_err();
    assert_eq!(again.code(), 5);
    world.pass(10);
    let changes = world.write("post", json!({"key": "k"})).unwrap().changes;
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0].key(), Key { kind: KIND, id: first });
    assert_eq!(world.config.len(), 1);
}
