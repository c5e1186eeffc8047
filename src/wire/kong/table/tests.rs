//! Messages that Kong sent, messages that it would refuse, and what comes back of ours.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::export::{Origin, Payload, reconfigure};
use super::import::{BadConfig, Message, ReadError, Reconfigure, read};
use super::*;
use crate::domain::catalog::{Catalog, UnsupportedPlugins};
use crate::domain::config::Config;
use crate::domain::decide::{Fresh, assemble, make};
use crate::domain::entity::{Entity, Kind};
use crate::domain::kinds::{ca_certificate, consumer, plugin, route, service, upstream};
use crate::plugins;
use crate::snapshot::Snapshot;
use crate::snapshot::gzip::unpack;
use crate::wire::kong::compat::downgrade::Downgrade;

const MAX: u64 = 16 << 20;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| plugins::catalog(|_| true));

/// A catalog that takes plugins that nothing here can run when they are written, too.
static STORING: LazyLock<Catalog> =
    LazyLock::new(|| plugins::catalog(|_| true).unsupported_plugins(UnsupportedPlugins::Store));

fn pack(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn fixture(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kong-wire");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn received(message: &Value) -> Reconfigure {
    match read(&pack(&message.to_string()), MAX).unwrap() {
        Message::Reconfigure(reconfigure) => *reconfigure,
        Message::Ignored => panic!("ignored"),
    }
}

fn verify_at(message: &Value, seconds: i64) -> Result<Snapshot, BadConfig> {
    let at = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    let mut fresh = Fresh { at, id: &mut || Uuid::from_u128(99) };
    received(message).verify(&CATALOG, &mut fresh)
}

fn verify(message: &Value) -> Result<Snapshot, BadConfig> {
    verify_at(message, 1_800_000_000)
}

fn origin() -> Origin {
    let cluster_id = "f561ba4a-ca1f-4415-ba5e-d5d7d16e5d4d".parse().unwrap();
    Origin { cluster_id, timestamp: 1_795_457_570.41 }
}

fn sent(snapshot: &Snapshot) -> Payload {
    reconfigure(&CATALOG, snapshot, &origin(), None).unwrap()
}

fn message(payload: &Payload) -> Value {
    let text = unpack(&payload.bytes, MAX).unwrap();
    assert_eq!(text.len() as u64, payload.unpacked_len);
    serde_json::from_slice(&text).unwrap()
}

/// Which sections of a message have a name of their own.
fn named(message: &Value) -> HashSet<String> {
    let hashes = message["hashes"].as_object().unwrap();
    assert_eq!(hashes.len(), 6);
    let shaped = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    hashes
        .iter()
        .filter(|(_, hash)| {
            assert!(shaped(hash.as_str().unwrap()), "{hash}");
            *hash != ZERO_HASH
        })
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn what_kong_sent_is_read_and_what_is_sent_has_its_shape() {
    for name in ["empty", "service", "full"] {
        let theirs = fixture(&format!("reconfigure-{name}.json"));
        let snapshot = verify(&theirs).unwrap();
        let payload = sent(&snapshot);
        let ours = message(&payload);
        let keys =
            |value: &Value| -> HashSet<_> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&ours), keys(&theirs), "{name}");
        assert_eq!(named(&ours), named(&theirs), "{name}");
        let (mut ours, mut theirs) = (ours["config_table"].clone(), theirs["config_table"].clone());
        let workspaces = |table: &mut Value| table.as_object_mut().unwrap().remove("workspaces");
        let (our_space, their_space) = (workspaces(&mut ours), workspaces(&mut theirs));
        let (our_space, their_space) = (&our_space.unwrap()[0], &their_space.unwrap()[0]);
        assert_eq!(keys(our_space), keys(their_space), "{name}");
        for field in ["name", "comment", "meta", "config"] {
            assert_eq!(our_space[field], their_space[field], "{name}");
        }
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(payload.config_hash, snapshot.hash().to_hex()[..32]);
    }
    let full = received(&fixture("reconfigure-full.json"));
    assert_eq!(full.config_hash.as_deref(), Some("25869d9f4597dd84759a997fc5dd2d8b"));
    assert_eq!(full.timestamp.as_deref(), Some("1795457570.41"));
}

#[test]
fn the_same_config_has_the_same_names_and_a_change_is_seen_in_its_section_only() {
    let theirs = fixture("reconfigure-full.json");
    let hashes = |theirs: &Value| message(&sent(&verify(theirs).unwrap()))["hashes"].clone();
    let first = hashes(&theirs);
    assert_eq!(first, hashes(&theirs));
    let mut other = theirs.clone();
    other["config_table"]["routes"][0]["preserve_host"] = true.into();
    let second = hashes(&other);
    let differs = |name: &str| first[name] != second[name];
    assert!(differs("config") && differs("routes"));
    assert!(!differs("services") && !differs("plugins") && !differs("targets"));
}

/// What is done to a table.
type Change = fn(&mut Value);

/// Changes the full message and says what comes of it.
fn with(change: impl FnOnce(&mut Value)) -> Result<Snapshot, String> {
    let mut message = fixture("reconfigure-full.json");
    change(&mut message["config_table"]);
    verify(&message).map_err(|error| error.to_string())
}

#[test]
fn if_the_value_of_a_field_is_null_and_the_schema_does_not_have_it_the_field_is_simply_ignored() {
    let same = verify(&fixture("reconfigure-full.json")).unwrap();
    let ignored = with(|table| {
        table["robots"] = Value::Null;
        table["services"][0]["colour"] = Value::Null;
        table["services"][0]["ws_id"] = Value::Null;
        table["plugins"][0]["config"]["colour"] = Value::Null;
        table["plugins"][0]["consumer_group"] = Value::Null;
        table["parameters"][0]["colour"] = Value::Null;
    });
    assert_eq!(ignored.unwrap(), same);
}

#[test]
fn anything_else_unknown_rejects_the_config_and_names_the_entity_and_the_field() {
    let cases: [(Change, &str); 7] = [
        (
            |table| table["services"][0]["colour"] = 1.into(),
            "in 'services':\n  - in entry 1 of 'services':\n    in 'colour': unknown field",
        ),
        (
            |table| table["plugins"][0]["config"]["colour"] = 1.into(),
            "in 'plugins':\n  - in entry 1 of 'plugins':\n    in 'config':\n      in 'colour': \
             unknown field",
        ),
        (|table| table["robots"] = json!([]), "in 'robots': unknown field"),
        (
            |table| table["parameters"][0]["colour"] = 1.into(),
            "in 'parameters':\n  - in entry 1 of 'parameters':\n    in 'colour': unknown field",
        ),
        (
            |table| table["plugins"][0]["name"] = "new-one".into(),
            "in 'plugins':\n  - in entry 1 of 'plugins':\n    in 'name': plugin 'new-one' not \
             enabled; add it to the 'plugins' configuration property",
        ),
        (
            |table| table["routes"][0]["service"] = Uuid::nil().to_string().into(),
            "in 'routes':\n  - in entry 1 of 'routes':\n    in 'service': invalid reference \
             'service: 00000000-0000-0000-0000-000000000000' (no such entry in 'services')",
        ),
        (|table| table["_format_version"] = "9.0".into(), "in '_format_version': expected one of"),
    ];
    for (change, text) in cases {
        let error = with(change).unwrap_err();
        let wanted = format!("bad config received from control plane {text}");
        assert!(error.starts_with(&wanted), "{error}\n{wanted}");
    }
}

#[test]
fn a_secret_that_comes_twice_is_not_told() {
    let error = with(|table| {
        let mut twice = table["keyauth_credentials"][0].clone();
        twice["id"] = Uuid::nil().to_string().into();
        twice["key"] = "hk".into();
        table["keyauth_credentials"].as_array_mut().unwrap().push(twice);
    })
    .unwrap_err();
    assert!(error.contains("keyauth_credentials") && error.contains("******"), "{error}");
    assert!(!error.contains("hk"), "{error}");
}

#[test]
fn plugins_that_nothing_here_can_run_are_taken() {
    let unhandled = CATALOG.plugins().find(|it| !it.handled && it.name == "file-log").unwrap();
    let taken = with(|table| {
        table["plugins"][0]["name"] = unhandled.name.into();
        table["plugins"][0]["config"] = json!({"path": "/tmp/x", "reopen": false});
    });
    assert_eq!(taken.unwrap().config().of_kind(plugin::KIND, None).count(), 1);
}

#[test]
fn fields_of_older_control_planes_keep_their_meaning() {
    let taken = with(|table| {
        table["plugins"][0]["name"] = "rate-limiting".into();
        table["plugins"][0]["config"] =
            json!({"minute": 5, "policy": "local", "redis_host": "r.test", "redis_port": 7});
    });
    let taken = taken.unwrap();
    let document = taken.config().of_kind(plugin::KIND, None).next().unwrap().document();
    assert_eq!(document["config"]["redis"]["host"], "r.test");
    assert_eq!(document["config"]["redis"]["port"], 7);
}

#[test]
fn a_credential_ends_when_its_control_plane_says() {
    let ends = |ttl: i64| {
        let mut message = fixture("reconfigure-full.json");
        message["config_table"]["keyauth_credentials"][0]["ttl"] = ttl.into();
        // Made at 1,795,457,564, received ten seconds later.
        let snapshot = verify_at(&message, 1_795_457_574).unwrap();
        let back = super::tests::message(&sent(&snapshot));
        back["config_table"]["keyauth_credentials"][0]["ttl"].as_i64().unwrap()
    };
    assert_eq!(ends(1_795_457_600), 1_795_457_600);
    assert_eq!(ends(30), 1_795_457_604, "what remains, as before 3.4.1");
}

#[test]
fn what_is_no_message_ends_the_connection_and_what_is_unknown_is_ignored() {
    for text in [r#"[1]"#, r#""x""#, "{}", r#"{"type":"new"}"#, r#"{"type":7}"#, " []"] {
        assert!(matches!(read(&pack(text), MAX), Ok(Message::Ignored)), "{text}");
    }
    let bad = ["null", "1", "true", "", "{", "[1", r#"{"type":"reconfigure","timestamp":null}"#];
    for text in bad.into_iter().chain([r#"{"type":"reconfigure","timestamp":{}}"#]) {
        assert!(read(&pack(text), MAX).is_err(), "{text}");
    }
    assert!(matches!(read(b"{}", MAX), Err(ReadError::Unpack(_))));
    let bomb = pack(&" ".repeat(1 << 20));
    assert!(bomb.len() < 20_000);
    assert!(matches!(read(&bomb, 1 << 19), Err(ReadError::Unpack(_))));
    for odd in [json!(null), json!("x"), json!(7), json!([]), json!({"routes": 1})] {
        let mut message = fixture("reconfigure-full.json");
        message["hashes"] = odd;
        assert!(verify(&message).is_ok(), "hints decide nothing");
        message["config_hash"] = json!(5);
        assert_eq!(received(&message).config_hash, None);
    }
    let nothing = json!({"type": "reconfigure", "config_table": null});
    assert!(verify(&nothing).is_err());
}

fn made(kind: Kind, body: Value) -> Entity {
    let at = chrono::DateTime::from_timestamp(1_700_000_000, 500_000_000).unwrap();
    let mut fresh = Fresh { at, id: &mut || Uuid::from_u128(1) };
    make(&STORING, kind, body.as_object().unwrap().clone(), &mut fresh).unwrap()
}

fn id(n: u128) -> String {
    Uuid::from_u128(n).to_string()
}

#[test]
fn disabled_services_and_plugins_are_left_out_with_all_that_belongs_to_them() {
    let config = Config::of(
        &CATALOG,
        [
            made(service::KIND, json!({"id": id(1), "name": "off", "host": "h", "enabled": false})),
            made(service::KIND, json!({"id": id(2), "name": "on", "host": "h"})),
            made(route::KIND, json!({"id": id(3), "paths": ["/1"], "service": {"id": id(1)}})),
            made(route::KIND, json!({"id": id(4), "paths": ["/2"], "service": {"id": id(2)}})),
            made(route::KIND, json!({"id": id(5), "paths": ["/3"]})),
            made(plugin::KIND, json!({"id": id(6), "name": "cors", "route": {"id": id(3)}})),
            made(plugin::KIND, json!({"id": id(7), "name": "cors", "service": {"id": id(1)}})),
            made(plugin::KIND, json!({"id": id(8), "name": "cors", "route": {"id": id(4)}})),
            made(plugin::KIND, json!({"id": id(9), "name": "cors", "enabled": false})),
            made(plugin::KIND, json!({"id": id(10), "name": "jwt"})),
        ],
    );
    let table = message(&sent(&Snapshot::of(config)))["config_table"].take();
    let ids = |kind: &str| -> Vec<String> {
        let rows = table[kind].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("services"), [id(2)]);
    assert_eq!(ids("routes"), [id(4), id(5)]);
    assert_eq!(ids("plugins"), [id(8), id(10)]);
    assert!(table.get("consumers").is_none(), "an empty kind has no list");
}

#[test]
fn an_older_data_plane_gets_what_it_knows() {
    let limited = json!({
        "id": id(1), "name": "rate-limiting", "config": {"minute": 5},
    });
    let config = Config::of(&CATALOG, [made(plugin::KIND, limited)]);
    let snapshot = Snapshot::of(config);
    let downgrade = Downgrade::new("3.9.1", "3.2.0").unwrap();
    let older = reconfigure(&CATALOG, &snapshot, &origin(), Some(&downgrade)).unwrap();
    let table = message(&older)["config_table"].take();
    let row = table["plugins"][0].as_object().unwrap();
    assert!(!row.contains_key("updated_at") && row["config"].get("redis").is_none());
    assert!(table["workspaces"][0].get("updated_at").is_none());
    assert!(older.lines.iter().any(|line| line.text.contains("'plugins.updated_at'")));
    let newest = sent(&snapshot);
    assert!(newest.lines.is_empty());
    assert_eq!(newest.config_hash, older.config_hash);
}

fn config() -> impl Strategy<Value = Config> {
    let body = (0_u8..8, any::<bool>(), 0_u8..9, any::<bool>());
    prop::collection::btree_map(0_u8..60, body, 0..30).prop_map(|bodies| {
        let mut entities: BTreeMap<_, Entity> = BTreeMap::new();
        let mut scopes = HashSet::new();
        for (n, (of, flag, what, other)) in bodies {
            let uuid = id(n.into());
            let tags = if flag { json!(["t"]) } else { Value::Null };
            let (kind, mut body) = match what {
                0 | 1 => (service::KIND, json!({"name": format!("s{n}"), "host": "h", "tags": tags})),
                2 => (route::KIND, json!({"paths": [format!("/{n}")], "headers": {"x": ["y"]}})),
                3 => (consumer::KIND, json!({"username": format!("c{n}"), "tags": tags})),
                4 => (upstream::KIND, json!({"name": format!("u{n}"), "hash_on": "ip"})),
                5 => (plugin::KIND, json!({"name": "cors", "config": {"max_age": 5}})),
                6 => (
                    plugin::KIND,
                    json!({"name": "rate-limiting", "config": {"minute": 3, "redis": {"host": "r"}}}),
                ),
                7 => (plugins::key_auth::CREDENTIALS, json!({"key": format!("k{n}"), "ttl": 500})),
                _ => (plugin::KIND, json!({"name": "datadog", "enabled": flag})),
            };
            body["id"] = uuid.into();
            if kind == service::KIND {
                body["enabled"] = (of > 1).into();
                if other {
                    body["retries"] = Value::Null;
                }
            }
            let target = match kind {
                route::KIND | plugin::KIND => Some(("service", service::KIND)),
                plugins::key_auth::CREDENTIALS => Some(("consumer", consumer::KIND)),
                _ => None,
            };
            if let Some((field, kind)) = target {
                let mut those = entities.values().filter(|it| it.kind() == kind);
                if let Some(found) = those.nth(of.into()) {
                    body[field] = json!({"id": found.id().to_string()});
                } else if field == "consumer" {
                    continue;
                }
            }
            if kind == plugin::KIND && !scopes.insert((body["name"].to_string(), body["service"].to_string()))
            {
                continue;
            }
            entities.insert(n, made(kind, body));
        }
        assemble(&CATALOG, entities.into_values()).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_was_exported_comes_back_but_for_what_is_disabled(config in config()) {
        let left = Left::out_of(&config);
        let kept = config.iter().filter(|entity| left.keeps(entity)).cloned();
        let wanted = Snapshot::of(Config::of(&CATALOG, kept));
        let payload = sent(&Snapshot::of(config));
        let back = verify(&message(&payload)).unwrap();
        prop_assert_eq!(back.config(), wanted.config());
        // Names depend on content alone.
        let again = message(&sent(&back));
        prop_assert_eq!(&again["hashes"]["routes"], &message(&payload)["hashes"]["routes"]);
    }
}

#[test]
fn certificates_come_back_with_what_is_derived_of_them() {
    let ca =
        made(ca_certificate::KIND, json!({"cert": crate::domain::pem::tests::samples::ca().cert}));
    let snapshot = Snapshot::of(Config::of(&CATALOG, [ca]));
    assert_eq!(verify(&message(&sent(&snapshot))).unwrap(), snapshot);
}
