//! Each row of the tables of sections 6.2 and 6.3, and the examples of Kong's manual.

use std::sync::LazyLock;

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::decide::{Fresh, make};
use crate::domain::entity::{Entity, Kind};
use crate::domain::kinds::route::Flavour;
use crate::domain::kinds::{plugin, service};
use crate::plugins;

/// Plugins with their versions.
type Named = &'static [(&'static str, &'static str)];

fn set(plugins: &[(&str, &str)]) -> PluginSet {
    let version = |text: &'static str| (!text.is_empty()).then_some(text);
    let plugins = plugins.iter().map(|(name, text)| (*name, version(text.to_string().leak())));
    PluginSet::of(plugins)
}

fn one(name: &str, version: Option<&str>) -> PluginSet {
    PluginSet::of([(name, version)])
}

#[test]
fn each_difference_of_what_is_loaded_has_its_line() {
    use Level::{Info, Notice, Warn};
    let cases = [
        (Some("1.1.1"), None, Some((Warn, "p plugin 1.1.1 is missing from data plane"))),
        (None, None, Some((Warn, "p plugin is missing from data plane"))),
        (
            Some("1.1.1"),
            Some(Some("2.1.1")),
            Some((
                Warn,
                "data plane p plugin version 2.1.1 is different to control plane plugin version 1.1.1",
            )),
        ),
        (
            Some("1.1.1"),
            Some(Some("1.0.1")),
            Some((
                Info,
                "data plane p plugin version 1.0.1 is different to control plane plugin version 1.1.1",
            )),
        ),
        (
            None,
            Some(Some("1.0.1")),
            Some((
                Notice,
                "data plane p plugin version 1.0.1 has unspecified version on control plane",
            )),
        ),
        (
            Some("1.1.1"),
            Some(None),
            Some((
                Notice,
                "data plane p plugin version is unspecified, and is different to control plane plugin version 1.1.1",
            )),
        ),
        (Some("1.1.1"), Some(Some("1.1.2")), None),
        (None, Some(None), None),
    ];
    for (ours, theirs, wanted) in cases {
        let data = theirs.map_or_else(PluginSet::default, |version| one("p", version));
        let lines = presence(&one("p", ours), &data);
        let wanted = wanted.map(|(level, text)| Line::new(level, text));
        assert_eq!(lines, Vec::from_iter(wanted));
    }
    assert!(presence(&PluginSet::default(), &set(&[("only-there", "9.8.1")])).is_empty());
}

#[test]
fn what_is_no_version_counts_as_unspecified_and_the_last_of_a_name_counts() {
    for version in ["3.9", "v3.9.3", "garbage", ""] {
        let unmet = Unmet::of(&one("p", Some("3.9.1")), &one("p", Some(version)));
        assert!(unmet.0.is_empty(), "{version}");
    }
    let twice = PluginSet::of([("p", Some("1.0.0")), ("p", Some("2.0.0"))]);
    assert!(Unmet::of(&one("p", Some("2.0.0")), &twice).0.is_empty());
}

/// Says why a configured plugin `p` keeps a config from a data plane.
fn why(ours: Option<&str>, theirs: Option<Option<&str>>) -> Option<Blocked> {
    why_of("p", ours, theirs)
}

fn why_of(name: &str, ours: Option<&str>, theirs: Option<Option<&str>>) -> Option<Blocked> {
    let data = theirs.map_or_else(PluginSet::default, |version| one(name, version));
    Unmet::of(&one(name, ours), &data).0.remove(name)
}

#[test]
fn each_difference_of_what_is_configured_has_its_status_and_reason() {
    use SyncStatus::{PluginSetIncompatible, PluginVersionIncompatible};
    let differs = |theirs: &str| {
        format!(
            "configured data plane p plugin version {theirs} is different to control plane plugin \
             version 1.1.1"
        )
    };
    let cases = [
        (
            Some("1.1.1"),
            None,
            PluginSetIncompatible,
            "configured p plugin 1.1.1 is missing from data plane".to_owned(),
        ),
        (
            None,
            None,
            PluginSetIncompatible,
            "configured p plugin is missing from data plane".to_owned(),
        ),
        (Some("1.1.1"), Some("0.1.1"), PluginVersionIncompatible, differs("0.1.1")),
        (Some("1.1.1"), Some("2.1.1"), PluginVersionIncompatible, differs("2.1.1")),
        (Some("1.1.1"), Some("1.2.0"), PluginVersionIncompatible, differs("1.2.0")),
    ];
    for (ours, theirs, status, reason) in cases {
        assert_eq!(why(ours, theirs.map(Some)), Some(Blocked { status, reason }));
    }
    for (ours, theirs) in [
        (Some("1.1.1"), Some("1.1.1")),
        (Some("1.1.1"), Some("1.0.9")),
        (Some("1.1.1"), Some("1.1.2")),
        (Some("1.1.1"), Some("1.1.1-rc")),
        (Some("1.1.1"), None),
        (None, Some("7.0.0")),
    ] {
        assert_eq!(why(ours, Some(theirs)), None, "{ours:?} {theirs:?}");
    }
    assert_eq!(why_of("opentelemetry", Some("3.9.1"), Some(Some("0.1.3"))), None);
    assert!(why_of("opentelemetry", Some("3.9.1"), Some(Some("0.2.0"))).is_some());
}

#[test]
fn the_line_has_the_text_of_kong_and_the_reason_of_the_seed() {
    let line = why(Some("1.1.1"), None).unwrap().line();
    assert_eq!(line.level, Level::Warn);
    assert_eq!(
        line.text,
        "unable to send updated configuration to data plane: configured p plugin 1.1.1 is missing \
         from data plane: CP and DP does not have same set of plugins installed or their versions \
         might differ"
    );
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| plugins::catalog(|_| true));

fn made(kind: Kind, body: Value) -> Entity {
    let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let mut fresh = Fresh { at, id: &mut || Uuid::from_u128(77) };
    make(&CATALOG, kind, body.as_object().unwrap().clone(), &mut fresh).unwrap()
}

fn config(entities: impl IntoIterator<Item = Entity>) -> Config {
    Config::of(&CATALOG, entities)
}

fn id(n: u128) -> String {
    Uuid::from_u128(n).to_string()
}

fn service(enabled: bool) -> Entity {
    made(service::KIND, json!({"id": id(1), "name": "s", "host": "h", "enabled": enabled}))
}

fn route() -> Entity {
    made(route::KIND, json!({"id": id(2), "paths": ["/"], "service": {"id": id(1)}}))
}

fn key_auth(more: Value) -> Entity {
    let mut body = json!({"id": id(3), "name": "key-auth"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    made(plugin::KIND, body)
}

#[test]
fn configured_plugins_means_any_plugin_that_is_either_enabled_globally_or_configured_by_services_routes_or_consumers()
 {
    let unmet = Unmet::of(&set(&[("key-auth", "3.9.1"), ("jwt", "3.9.1")]), &set(&[]));
    let blocks = |entities: Vec<Entity>| unmet.check(&config(entities)).is_err();
    assert!(!blocks(vec![]));
    assert!(blocks(vec![key_auth(json!({}))]));
    assert!(blocks(vec![service(true), key_auth(json!({"service": {"id": id(1)}}))]));
    assert!(blocks(vec![service(true), route(), key_auth(json!({"route": {"id": id(2)}}))]));
    assert!(!blocks(vec![key_auth(json!({"enabled": false}))]));
    assert!(!blocks(vec![service(false), key_auth(json!({"service": {"id": id(1)}}))]));
    assert!(!blocks(vec![service(false), route(), key_auth(json!({"route": {"id": id(2)}}))]));
}

/// The examples of Kong's manual: `plugin1` is configured by a route.
#[test]
fn for_example_if_a_kong_gateway_oss_control_plane_has_plugin1_v1_1_1_and_plugin2_v2_1_0() {
    let control = set(&[("plugin1", "1.1.1"), ("plugin2", "2.1.0")]);
    let cases: [(&str, Named, bool); 5] = [
        ("with plugin1 v1.1.2, and plugin2 not installed", &[("plugin1", "1.1.2")], true),
        (
            "with plugin1 v1.1.2, plugin2 v2.1.0, and plugin3 v9.8.1 installed",
            &[("plugin1", "1.1.2"), ("plugin2", "2.1.0"), ("plugin3", "9.8.1")],
            true,
        ),
        (
            "with plugin1 v1.2.0, and plugin2 v2.1.0 installed",
            &[("plugin1", "1.2.0"), ("plugin2", "2.1.0")],
            false,
        ),
        (
            "with plugin1 v1.1.1, and plugin3 v9.8.1 installed",
            &[("plugin1", "1.1.1"), ("plugin3", "9.8.1")],
            true,
        ),
        ("with plugin1 not installed", &[("plugin2", "2.1.0")], false),
    ];
    for (sentence, data, accepted) in cases {
        let unmet = Unmet::of(&control, &set(data));
        assert_eq!(!unmet.0.contains_key("plugin1"), accepted, "{sentence}");
    }
}

#[test]
fn routes_of_both_flavours_do_not_go_to_data_planes_before_3_7() {
    let catalog = Catalog::with_flavour(Flavour::Expressions, Vec::new());
    let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let mut n = 0;
    let mut make = |body: Value| {
        n += 1;
        let mut fresh = Fresh { at, id: &mut || Uuid::from_u128(n) };
        let body = body.as_object().unwrap().clone();
        make(&catalog, route::KIND, body, &mut fresh).unwrap()
    };
    let expression = make(json!({"expression": "http.path == \"/\"", "priority": 1}));
    let paths = make(json!({"paths": ["/"]}));
    let of = |routes: Vec<Entity>| Config::of(&catalog, routes);
    let mixed = of(vec![expression.clone(), paths.clone()]);
    let blocked = check_routes(&catalog, &mixed, "3.6.1").unwrap_err();
    assert_eq!(blocked.reason, "3.6.1 does not support mixed mode route");
    assert_eq!(blocked.status, SyncStatus::Normal);
    assert_eq!(check_routes(&catalog, &mixed, "3.7.0"), Ok(()));
    for whole in [of(vec![]), of(vec![expression]), of(vec![paths])] {
        assert_eq!(check_routes(&catalog, &whole, "3.6.1"), Ok(()));
    }
    assert_eq!(check_routes(&Catalog::new(Vec::new()), &mixed, "3.6.1"), Ok(()));
}
