//! Compiling configs: chains by scope, what is taken over, what is refused.

mod incremental;

use serde_json::{Value, json};

use super::*;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Kind};
use crate::domain::hash::ConfigHash;
use crate::domain::kinds::{ca_certificate, certificate, consumer, plugin, route, service, sni};
use crate::pki::generate::listener_pair;
use crate::plugins::{self, Phases};

const HASH: ConfigHash = ConfigHash([1; 32]);

fn catalog() -> Catalog {
    plugins::catalog(|_| true)
}

fn tools() -> Tools {
    tools_of(Flavour::default())
}

fn tools_of(flavour: Flavour) -> Tools {
    let (plugin_state, tls) = (PluginState::default(), LiveTls::default());
    let (resolver, checker) = (Resolver::nowhere(), Checker::nowhere());
    let slow_start = std::time::Duration::ZERO;
    Tools { plugin_state, tls, clock: Clock::System, flavour, resolver, checker, slow_start }
}

fn entity(kind: Kind, id: u128, mut document: Value) -> Entity {
    let catalog = catalog();
    let document = document.as_object_mut().unwrap();
    let times =
        [("id", json!(Uuid::from_u128(id))), ("created_at", json!(1)), ("updated_at", json!(1))];
    document.extend(times.map(|(name, value)| (name.to_owned(), value)));
    catalog.complete(kind, document).unwrap();
    Entity::new(kind, document).unwrap()
}

fn plugin(id: u128, name: &str, scopes: &[(&str, u128)], config: Value) -> Entity {
    let mut document = json!({"name": name, "config": config});
    for (scope, id) in scopes {
        document[*scope] = json!({"id": Uuid::from_u128(*id)});
    }
    entity(plugin::KIND, id, document)
}

fn world(more: Vec<Entity>) -> Config {
    let base = vec![
        entity(service::KIND, 1, json!({"host": "127.0.0.1"})),
        entity(route::KIND, 2, json!({"paths": ["/a"], "service": {"id": Uuid::from_u128(1)}})),
        entity(consumer::KIND, 3, json!({"username": "alice"})),
    ];
    Config::of(&catalog(), base.into_iter().chain(more))
}

fn compile(config: &Config, old: Option<&Runtime>) -> Runtime {
    Runtime::compile(config, HASH, old, &tools()).unwrap()
}

fn limiter(id: u128, scopes: &[(&str, u128)]) -> Entity {
    plugin(id, "rate-limiting", scopes, json!({"minute": id, "policy": "local"}))
}

#[test]
fn the_most_specific_instance_wins_for_a_known_consumer_too() {
    let alice = Some(Uuid::from_u128(3));
    let runtime = compile(
        &world(vec![
            limiter(10, &[]),
            limiter(11, &[("service", 1)]),
            limiter(12, &[("consumer", 3)]),
        ]),
        None,
    );
    let same = |a: Option<&std::sync::Arc<dyn crate::plugins::Plugin>>, id: u128| {
        let built = runtime.instance(id);
        a.is_some_and(|a| Arc::ptr_eq(a, &built))
    };
    let chain = &runtime.destination(0).unwrap().chain;
    let [slot] = chain.in_phase(Phases::ACCESS) else { panic!("one plugin, one slot") };
    assert!(same(slot.select(None), 11));
    assert!(same(slot.select(alice), 12));
    let [slot] = runtime.global.in_phase(Phases::ACCESS) else { panic!("one plugin, one slot") };
    assert!(same(slot.select(None), 10));
}

/// Lua, which nothing here runs.
fn lua(id: u128, fields: Value) -> Entity {
    let mut document = json!({"name": "pre-function", "config": {"access": ["return"]}});
    document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    entity(plugin::KIND, id, document)
}

#[test]
fn what_nothing_can_run_refuses_the_requests_that_it_applies_to() {
    let service = json!({"id": Uuid::from_u128(1)});
    let status = |fields: Value| {
        let runtime = compile(&world(vec![lua(10, fields)]), None);
        let chain = &runtime.destination(0).unwrap().chain;
        let [slot] = chain.in_phase(Phases::ACCESS) else { return None };
        let directory = crate::plugins::directory::Directory::default();
        let request = http::Request::new(crate::plugins::body::RequestBody::Empty);
        let mut exchange = crate::plugins::exchange::fixture::exchange(request);
        let plugin = slot.select(None).unwrap();
        let scope = crate::plugins::tests::scope(&directory);
        crate::plugins::tests::run_access(&**plugin, &mut exchange, scope).map(|r| r.status)
    };
    let refused = Some(http::StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(json!({})), refused);
    assert_eq!(status(json!({"service": service})), refused);
    assert_eq!(status(json!({"route": {"id": Uuid::from_u128(7)}})), None);
    assert_eq!(status(json!({"enabled": false})), None);
    assert_eq!(status(json!({"protocols": ["tcp"]})), None, "it is not for these requests");
}

impl Runtime {
    fn instance(&self, id: u128) -> Arc<dyn crate::plugins::Plugin> {
        self.instances.instance(Uuid::from_u128(id)).unwrap()
    }
}

#[test]
fn route_and_service_together_outrank_a_consumer_alone() {
    let runtime = compile(
        &world(vec![limiter(10, &[("route", 2), ("service", 1)]), limiter(11, &[("consumer", 3)])]),
        None,
    );
    let chain = &runtime.destination(0).unwrap().chain;
    let [slot] = chain.in_phase(Phases::ACCESS) else { panic!("one plugin, one slot") };
    let wanted = runtime.instance(10);
    assert!(Arc::ptr_eq(slot.select(Some(Uuid::from_u128(3))).unwrap(), &wanted));
}

#[test]
fn what_did_not_change_is_taken_over() {
    let old = compile(&world(vec![limiter(10, &[]), limiter(11, &[("service", 1)])]), None);
    let changed =
        plugin(11, "rate-limiting", &[("service", 1)], json!({"minute": 1, "policy": "local"}));
    let new = compile(&world(vec![limiter(10, &[]), changed]), Some(&old));
    assert!(Arc::ptr_eq(&old.instance(10), &new.instance(10)));
    assert!(!Arc::ptr_eq(&old.instance(11), &new.instance(11)));
}

#[test]
fn the_directory_follows_consumers_and_credentials() {
    let key = |id: u128, key: &str| {
        let kind = catalog().kind("keyauth_credentials").unwrap();
        let document = json!({
            "id": Uuid::from_u128(id), "created_at": 1, "key": key,
            "consumer": {"id": Uuid::from_u128(3)},
        });
        Entity::new(kind, document.as_object().unwrap()).unwrap()
    };
    let kind = catalog().kind("keyauth_credentials").unwrap();
    let first = compile(&world(vec![key(20, "a"), key(21, "b")]), None);
    let second = compile(&world(vec![key(20, "c")]), Some(&first));
    let has = |runtime: &Runtime, key: &str| runtime.directory.credential(kind, key).is_some();
    assert_eq!((has(&first, "a"), has(&first, "b"), has(&first, "c")), (true, true, false));
    assert_eq!((has(&second, "a"), has(&second, "b"), has(&second, "c")), (false, false, true));
    assert!(second.directory.caller_named("alice").is_some());
}

#[test]
fn routes_of_a_disabled_service_are_left_out() {
    let disabled = entity(service::KIND, 1, json!({"host": "127.0.0.1", "enabled": false}));
    let runtime = compile(&world(vec![disabled]), None);
    assert!(runtime.router.is_empty());
}

#[test]
fn a_config_that_cannot_be_served_names_the_entity_and_leaves_the_old_one() {
    let handle = Handle::new(Arc::new(compile(&world(vec![]), None)));
    let broken = json!({"id": Uuid::from_u128(30), "paths": ["~/("]});
    let broken = Entity::new(route::KIND, broken.as_object().unwrap()).unwrap();
    let config = world(vec![broken]);
    let error = apply(&handle, &config, ConfigHash([2; 32]), &tools()).unwrap_err();
    assert_eq!(error.entity.map(|key| key.id), Some(Uuid::from_u128(30)));
    assert_eq!(handle.load().config_hash, HASH);
}

#[test]
fn old_runtimes_are_dropped_once_nobody_holds_them() {
    let handle = Handle::new(Arc::new(Runtime::empty(HASH)));
    let held = handle.load();
    let weak = Arc::downgrade(&held);
    handle.swap(Arc::new(Runtime::empty(HASH)));
    assert!(weak.upgrade().is_some());
    drop(held);
    handle.sweep();
    assert!(weak.upgrade().is_none());
}

fn certificate(id: u128, pair: &crate::pki::generate::PemPair) -> Entity {
    entity(certificate::KIND, id, json!({"cert": pair.certificate, "key": pair.key}))
}

fn sni(id: u128, name: &str, certificate: u128) -> Entity {
    let reference = json!({"id": Uuid::from_u128(certificate)});
    entity(sni::KIND, id, json!({"name": name, "certificate": reference}))
}

#[test]
fn certificates_are_found_by_name_and_taken_over_with_their_names() {
    let pair = crate::pki::generate::listener_pair(&Clock::System).unwrap();
    let certificates = [certificate(20, &pair), sni(21, "a.test", 20)];
    let first = compile(&world(certificates.to_vec()), None);
    assert!(first.names().find("a.test").is_some());
    assert!(first.names().find("b.test").is_none());

    let with_more = certificates.iter().cloned().chain([limiter(10, &[])]);
    let same = compile(&world(with_more.collect()), Some(&first));
    assert!(std::ptr::eq(first.names(), same.names()), "nothing of them changed");

    let renamed =
        compile(&world(vec![certificates[0].clone(), sni(21, "b.test", 20)]), Some(&same));
    assert!(renamed.names().find("a.test").is_none());
    assert!(renamed.names().find("b.test").is_some());
    let gone = compile(&world(Vec::new()), Some(&renamed));
    assert!(gone.names().find("b.test").is_none());
}

#[test]
fn a_certificate_in_a_vault_is_not_shown_and_one_that_is_missing_is_refused() {
    let kept = json!({"cert": "{vault://env/cert}", "key": "{vault://env/key}"});
    let runtime =
        compile(&world(vec![entity(certificate::KIND, 20, kept), sni(21, "a.test", 20)]), None);
    assert!(runtime.names().find("a.test").is_none());
    let config = world(vec![sni(21, "a.test", 20)]);
    let refused = Runtime::compile(&config, HASH, None, &tools()).err().unwrap();
    assert_eq!(refused.entity.map(|key| key.kind), Some(sni::KIND));
}

/// A service that speaks TLS and shows certificate 9, and more.
fn secured(service: Value, more: Vec<Entity>) -> Config {
    let mut document = json!({"host": "up.test", "protocol": "https"});
    document.as_object_mut().unwrap().extend(service.as_object().cloned().unwrap());
    let base = vec![
        entity(service::KIND, 1, document),
        entity(route::KIND, 2, json!({"paths": ["/a"], "service": {"id": Uuid::from_u128(1)}})),
    ];
    Config::of(&catalog(), base.into_iter().chain(more))
}

fn tls_config(runtime: &Runtime) -> Arc<rustls::ClientConfig> {
    let service = runtime.destination(0).unwrap().service.as_ref().unwrap();
    let Channel::Tls(config) = &service.channel else { panic!("{:?}", service.channel) };
    config.clone()
}

#[test]
fn connections_outlive_a_swap_unless_their_tls_changes() {
    let pair = |_| listener_pair(&Clock::System).unwrap();
    let [one, other] = [(); 2].map(pair);
    let shown = json!({"client_certificate": {"id": Uuid::from_u128(9)}});
    let with = |service: &Value, pair: &crate::pki::generate::PemPair| {
        let pair = json!({"cert": pair.certificate, "key": pair.key});
        secured(service.clone(), vec![entity(certificate::KIND, 9, pair)])
    };
    let first = compile(&with(&shown, &one), None);
    let mut slower = shown.clone();
    slower["read_timeout"] = json!(7);
    let second = compile(&with(&slower, &one), Some(&first));
    assert!(Arc::ptr_eq(&tls_config(&first), &tls_config(&second)));
    let mut verified = shown.clone();
    verified["tls_verify"] = json!(true);
    for changed in [with(&shown, &other), with(&verified, &one), with(&json!({}), &one)] {
        let third = compile(&changed, Some(&second));
        assert!(!Arc::ptr_eq(&tls_config(&second), &tls_config(&third)));
    }
}

#[test]
fn certificates_that_no_upstream_can_be_shown_are_refused_by_name() {
    let [one, other] = [(); 2].map(|()| listener_pair(&Clock::System).unwrap());
    let shown = json!({"client_certificate": {"id": Uuid::from_u128(9)}});
    let mixed = entity(certificate::KIND, 9, json!({"cert": one.certificate, "key": other.key}));
    let error = Runtime::compile(&secured(shown.clone(), vec![mixed]), HASH, None, &tools());
    let key = Key { kind: certificate::KIND, id: Uuid::from_u128(9) };
    assert_eq!(error.err().unwrap().entity, Some(key));

    let trusting = json!({"tls_verify": true, "ca_certificates": [Uuid::from_u128(8)]});
    let broken = entity(ca_certificate::KIND, 8, json!({"cert": "no certificate"}));
    let error = Runtime::compile(&secured(trusting, vec![broken]), HASH, None, &tools());
    let key = Key { kind: ca_certificate::KIND, id: Uuid::from_u128(8) };
    assert_eq!(error.err().unwrap().entity, Some(key));

    // What is in a vault is not there yet: its requests fail, and nothing else.
    let vault = json!({"cert": "{vault://env/cert}", "key": "{vault://env/key}"});
    let runtime = compile(&secured(shown, vec![entity(certificate::KIND, 9, vault)]), None);
    let service = runtime.destination(0).unwrap().service.as_ref().unwrap();
    assert!(matches!(service.channel, Channel::Unusable));
}
