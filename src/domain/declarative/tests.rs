//! Declarative trees, each with what becomes of it.

use proptest::prelude::*;

use super::*;
use crate::domain::catalog::PluginSchema;
use crate::domain::decide::{Fresh, assemble, declare};
use crate::domain::entity::Key;
use crate::domain::kinds::{
    ca_certificate, certificate, consumer, key, key_set, plugin, route, service, sni, target,
    upstream, vault,
};
use crate::domain::rejection::Rejection;
use uuid::Uuid;

fn catalog() -> Catalog {
    let config = Field::record([("header", Field::string().default("x-marker"))]);
    Catalog::new(vec![PluginSchema::new("marker", "1.0.0", 1).config(config)])
}

fn read(tree: Value) -> Result<Config, Rejection> {
    let catalog = catalog();
    let mut drawn = 0;
    let mut id = || {
        drawn += 1;
        Uuid::from_u128(drawn)
    };
    let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let entities = parse(&catalog, &tree, &mut Fresh { at, id: &mut id })?;
    Ok(assemble(&catalog, entities).expect("what parse returns fits together"))
}

fn errors(tree: Value) -> Value {
    let rejection = read(tree).expect_err("it is not valid");
    assert_eq!(rejection.code(), 14);
    rejection.fields()
}

fn document(config: &Config, kind: Kind, name: &'static str, value: &str) -> Document {
    let id = config.by_unique(kind, name, &value.into()).unwrap();
    config.find(Key { kind, id }).unwrap().document()
}

#[test]
fn nested_entities_names_and_defaults_are_read() {
    let config = read(json!({
        "_format_version": "3.0",
        "_comment": "hello",
        "_ignore": [1, {"a": 2}],
        "services": [{
            "name": "example-service", "url": "http://a.test:81/x", "_comment": "c",
            "routes": [{"name": "r1", "paths": ["/r1"], "plugins": [{"name": "marker"}]}],
        }],
        "routes": [{"name": "r2", "paths": ["/r2"], "service": "example-service"}],
        "consumers": [{"username": "alice", "plugins": [{"name": "marker", "route": "r2"}]}],
        "upstreams": [{"name": "u", "targets": [{"target": "10.0.0.1"}]}],
        "plugins": [{"name": "marker", "service": {"name": "example-service"}}],
        "workspaces": [{"name": "default"}],
    }))
    .unwrap();
    let service = document(&config, service::KIND, "name", "example-service");
    // The example of the reference.
    assert_eq!(service["id"], "7a267194-6123-5ee0-a1c9-4c1559eb0d95");
    assert_eq!((&service["port"], &service["path"]), (&json!(81), &json!("/x")));
    for name in ["r1", "r2"] {
        let route = document(&config, route::KIND, "name", name);
        assert_eq!(route["service"]["id"], service["id"]);
        assert_eq!(route["strip_path"], true);
    }
    let alice = document(&config, consumer::KIND, "username", "alice");
    let plugins: Vec<_> = config.of_kind(plugin::KIND, None).map(Entity::document).collect();
    assert_eq!(plugins.len(), 3);
    let hers = plugins.iter().find(|plugin| plugin.contains_key("consumer")).unwrap();
    assert_eq!(hers["consumer"]["id"], alice["id"]);
    assert_eq!(hers["route"]["id"], document(&config, route::KIND, "name", "r2")["id"]);
    assert_eq!(hers["config"]["header"], "x-marker");
    let target = config.of_kind(target::KIND, None).next().unwrap().document();
    assert_eq!(target["target"], "10.0.0.1:8000");
}

#[test]
fn certificates_hold_their_snis_and_key_sets_their_keys() {
    let pair = crate::domain::pem::tests::samples::ec();
    let jwk = crate::domain::pem::tests::samples::jwk("k");
    let tree = json!({
        "_format_version": "3.0",
        "certificates": [
            {"cert": pair.cert, "key": pair.key, "snis": [{"name": "a.test"}, {"name": "b.test"}]},
        ],
        "ca_certificates": [{"cert": crate::domain::pem::tests::samples::ca().cert}],
        "key_sets": [{"name": "s", "keys": [{"kid": "k", "jwk": jwk, "name": "one"}]}],
        "vaults": [{"prefix": "my-env", "name": "env", "config": {"prefix": "A_"}}],
        "services": [{"name": "s", "host": "a", "protocol": "https"}],
    });
    let config = read(tree).unwrap();
    let certificate = config.of_kind(certificate::KIND, None).next().unwrap().document();
    assert!(!certificate.contains_key("snis"));
    for name in ["a.test", "b.test"] {
        let sni = document(&config, sni::KIND, "name", name);
        assert_eq!(sni["certificate"]["id"], certificate["id"]);
    }
    let (set, key) = (
        document(&config, key_set::KIND, "name", "s"),
        document(&config, key::KIND, "name", "one"),
    );
    assert_eq!(key["set"]["id"], set["id"]);
    let ca = config.of_kind(ca_certificate::KIND, None).next().unwrap().document();
    assert_eq!(ca["cert_digest"].as_str().unwrap().len(), 64);
    assert_eq!(document(&config, vault::KIND, "prefix", "my-env")["config"]["prefix"], "A_");
    assert_eq!(read(export(&catalog(), &config)).unwrap(), config);
}

#[test]
fn absent_ids_are_derived_the_way_of_kong() {
    let catalog = catalog();
    let plugin = json!({"name": "key-auth"});
    let id = id::derive(catalog.schema(plugin::KIND), plugin.as_object().unwrap());
    assert_eq!(id.unwrap().to_string(), "6b4f38d1-e026-540b-a5ea-8634739dd2a7");
    let nameless = json!({"host": "a.test"});
    assert_eq!(id::derive(catalog.schema(service::KIND), nameless.as_object().unwrap()), None);
    let tree = json!({"_format_version": "3.0", "services": [{"name": "s", "host": "h"}]});
    assert_eq!(read(tree.clone()).unwrap(), read(tree).unwrap());
}

#[test]
fn the_head_of_the_tree_is_checked() {
    let of = |version: Value| errors(json!({"_format_version": version}))["_format_version"].take();
    assert_eq!(errors(json!({})), json!({"_format_version": "required field missing"}));
    assert_eq!(of(json!("4.0")), "expected one of: 1.1, 2.1, 3.0");
    assert_eq!(of(json!(3.0)), "expected a string");
    let tree = json!({
        "_format_version": "3.0", "_transform": 1, "_comment": 2, "_ignore": 3,
        "services": {}, "robots": [], "_info": {}, "routes": null,
    });
    assert_eq!(
        errors(tree),
        json!({
            "_transform": "expected a boolean", "_comment": "expected a string",
            "_ignore": "expected an array", "services": "expected an array",
            "robots": "unknown field", "_info": "unknown field",
        })
    );
    assert!(errors(json!([]))["@entity"][0].is_string());
}

#[test]
fn errors_stand_where_the_entity_stands() {
    let tree = json!({
        "_format_version": "3.0",
        "services": [
            {"name": "a", "host": "h"},
            {"name": "a", "host": "h", "colour": 1, "routes": [{}]},
            {"name": "c", "routes": [{"name": "r", "paths": ["x"]}, 7]},
        ],
        "routes": [{"name": "q", "paths": ["/"], "service": "svc1"}],
        "plugins": [{"name": "marker"}, {"name": "marker"}],
    });
    let errors = errors(tree);
    let twice = "uniqueness violation: 'services' entity with name set to 'a' already declared";
    assert_eq!(errors["services"][0], Value::Null);
    assert_eq!(errors["services"][1]["name"], twice);
    assert_eq!(errors["services"][2]["host"], "required field missing");
    assert_eq!(
        errors["services"][2]["routes"][0]["paths"][0],
        "should start with: / (fixed path) or ~/ (regex path)"
    );
    assert_eq!(errors["services"][2]["routes"][1], "expected a record");
    let lost = "invalid reference 'service: svc1' (no such entry in 'services')";
    assert_eq!(errors["routes"][0]["service"], lost);
    let text = errors["plugins"][1]["@entity"][0].as_str().unwrap();
    assert!(text.starts_with("uniqueness violation: 'plugins' entity with cache_key"), "{text}");
}

#[test]
fn a_nested_entity_may_not_name_its_parent_again() {
    let tree = json!({
        "_format_version": "3.0",
        "services": [{"name": "a", "host": "h", "routes": [{"paths": ["/"], "service": "a"}]}],
    });
    assert_eq!(errors(tree)["services"][0]["routes"][0]["service"], "value must be null");
}

#[test]
fn old_formats_get_their_regular_expressions_marked() {
    let paths = |version: &str| {
        let routes = json!([{"name": "r", "paths": ["/plain", r"/\d+"]}]);
        let config = read(json!({"_format_version": version, "routes": routes})).unwrap();
        document(&config, route::KIND, "name", "r")["paths"].clone()
    };
    assert_eq!(paths("2.1"), json!(["/plain", r"~/\d+"]));
    assert_eq!(paths("3.0"), json!(["/plain", r"/\d+"]));
}

#[test]
fn times_that_are_given_stay_and_a_second_import_changes_nothing() {
    let catalog = catalog();
    let tree = json!({"_format_version": "3.0", "services": [
        {"name": "s", "host": "h", "created_at": 5, "updated_at": 6}, {"name": "t", "host": "h"},
    ]});
    let config = read(tree.clone()).unwrap();
    assert_eq!(document(&config, service::KIND, "name", "s")["updated_at"], 6);

    let at = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let later = parse(&catalog, &tree, &mut Fresh { at, id: &mut Uuid::nil }).unwrap();
    assert_ne!(Config::of(&catalog, later.clone()), config);
    let kept = keep_times(&catalog, &config, later);
    assert_eq!(Config::of(&catalog, kept), config);
}

fn config() -> impl Strategy<Value = Config> {
    let body = (0_u8..6, any::<bool>(), any::<bool>(), 0_u8..6);
    prop::collection::btree_map(0_u8..40, body, 0..25).prop_map(|bodies| {
        let catalog = catalog();
        let at = chrono::DateTime::from_timestamp(1_700_000_000, 500_000_000).unwrap();
        let mut drawn = 1000;
        let mut id = || {
            drawn += 1;
            Uuid::from_u128(drawn)
        };
        let mut fresh = Fresh { at, id: &mut id };
        let mut entities = Vec::new();
        for (n, (of, null, tagged, kind)) in bodies {
            let uuid = |n: u8| Uuid::from_u128(n.into()).to_string();
            let tags = if tagged { json!(["t"]) } else { Value::Null };
            let (kind, mut body) = match kind {
                0 => (route::KIND, json!({"paths": ["/"], "snis": ["a.test"], "tags": tags})),
                1 => (consumer::KIND, json!({"username": format!("c{n}"), "tags": tags})),
                2 => (upstream::KIND, json!({"name": format!("u{n}"), "tags": tags})),
                3 => (plugin::KIND, json!({"name": "marker", "config": {}})),
                _ => (service::KIND, json!({"name": format!("s{n}"), "host": "h"})),
            };
            body["id"] = uuid(n).into();
            if null {
                // Null where there is a default: must not come back as the default.
                match kind {
                    service::KIND => body["retries"] = Value::Null,
                    plugin::KIND => body["config"]["header"] = Value::Null,
                    upstream::KIND => body["healthchecks"] = json!({"threshold": null}),
                    _ => {}
                }
            }
            let target = match kind {
                route::KIND => Some(("service", service::KIND)),
                plugin::KIND => Some(("route", route::KIND)),
                _ => None,
            };
            if let Some((field, kind)) = target {
                let id = Uuid::from_u128(of.into());
                if entities.iter().any(|entity: &Entity| entity.key() == Key { kind, id }) {
                    body[field] = json!({"id": uuid(of)});
                } else if kind == route::KIND {
                    continue;
                }
            }
            let body = body.as_object().unwrap().clone();
            entities.push(declare(&catalog, kind, body, true, &mut fresh).unwrap());
        }
        let mut seen = std::collections::HashSet::new();
        entities.retain(|entity| {
            entity.kind() != plugin::KIND || seen.insert(entity.document()["route"].to_string())
        });
        Config::of(&catalog, entities)
    })
}

proptest! {
    #[test]
    fn what_was_exported_reads_back_the_same(config in config()) {
        let catalog = catalog();
        let tree = export(&catalog, &config);
        for entity in config.iter() {
            let Value::Object(document) = flat(&catalog, entity) else { panic!("an object") };
            prop_assert_eq!(&read_flat(catalog.schema(entity.kind()), document).unwrap(), entity);
        }
        prop_assert_eq!(&read(tree).unwrap(), &config);
    }
}
