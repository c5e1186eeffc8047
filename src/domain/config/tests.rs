//! The config and its indexes, over random histories.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::kinds::{route, service};

fn service(id: u128, host: u8) -> Entity {
    let document = json!({
        "id": Uuid::from_u128(id), "name": format!("s{id}"), "host": format!("h{host}"),
        "tags": [format!("t{}", host % 2)],
    });
    Entity::new(service::KIND, document.as_object().unwrap()).unwrap()
}

fn route(id: u128, service: u128) -> Entity {
    let document = json!({"id": Uuid::from_u128(id), "service": {"id": Uuid::from_u128(service)}});
    Entity::new(route::KIND, document.as_object().unwrap()).unwrap()
}

fn entity() -> impl Strategy<Value = Entity> {
    prop_oneof![
        (0_u128..12, any::<u8>()).prop_map(|(id, host)| service(id, host)),
        (0_u128..12, 0_u128..12).prop_map(|(id, of)| route(id, of)),
    ]
}

fn entities() -> impl Strategy<Value = Vec<Entity>> {
    prop::collection::vec(entity(), 0..30)
}

proptest! {
    /// Rollback rests on this: the diff of two configs leads from one to the other.
    #[test]
    fn diff_leads_to_target(from in entities(), to in entities()) {
        let catalog = Catalog::new(Vec::new());
        let (mut from, to) = (Config::of(&catalog, from), Config::of(&catalog, to));
        for change in from.diff(&catalog, &to) {
            from.apply(&catalog, &change);
        }
        prop_assert_eq!(&from, &to);
        prop_assert!(from.diff(&catalog, &to).is_empty());
    }

    /// Indexes do not remember where a config came from.
    #[test]
    fn indexes_follow_the_entities(history in entities(), gone in prop::collection::vec(entity(), 0..10)) {
        let catalog = Catalog::new(Vec::new());
        let mut config = Config::of(&catalog, history);
        for entity in gone {
            config.apply(&catalog, &Change::Deleted(entity.key()));
        }
        let fresh = Config::of(&catalog, config.iter().cloned());
        prop_assert_eq!(&config.unique, &fresh.unique);
        prop_assert_eq!(&config.references, &fresh.references);
        prop_assert_eq!(&config.tags, &fresh.tags);
    }
}

#[test]
fn lists_go_on_after_an_id() {
    let catalog = Catalog::new(Vec::new());
    let config = Config::of(&catalog, [service(1, 0), service(2, 0), route(1, 2), route(5, 2)]);
    let ids = |after| config.of_kind(service::KIND, after).map(Entity::id).collect::<Vec<_>>();
    assert_eq!(ids(None), [Uuid::from_u128(1), Uuid::from_u128(2)]);
    assert_eq!(ids(Some(Uuid::from_u128(1))), [Uuid::from_u128(2)]);
    assert!(ids(Some(Uuid::max())).is_empty());
    let referrer = catalog.referrers(service::KIND)[0];
    let key = Key { kind: service::KIND, id: Uuid::from_u128(2) };
    let routes = |after| config.referring(key, referrer, after).count();
    assert_eq!((routes(None), routes(Some(Uuid::from_u128(1)))), (2, 1));
    assert_eq!(config.by_unique(service::KIND, "name", &json!("s2")), Some(key.id));
    assert_eq!(config.tagged("t0").count(), 2);
}
