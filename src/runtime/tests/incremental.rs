//! A runtime that followed changes against one that was compiled at once.

use proptest::prelude::*;

use super::*;
use crate::domain::event::Change;
use crate::domain::kinds::{target, upstream};
use crate::router::{NetView, Protocol, RequestView};

/// One entity of few, written or deleted.
#[derive(Clone, Debug)]
enum Step {
    Service { id: u128, upstream: bool, enabled: bool },
    Route { id: u128, path: u8, service: Option<u128> },
    Plugin { id: u128, name: usize, scopes: Vec<(&'static str, u128)>, minute: u32 },
    Upstream { id: u128, name: &'static str },
    Target { id: u128, upstream: u128 },
    Consumer { id: u128, name: u8 },
    Delete { id: u128 },
}

fn step() -> impl Strategy<Value = Step> {
    let scope = prop::sample::subsequence(
        vec![("service", 1_u128), ("route", 11), ("route", 12), ("consumer", 41)],
        0..3,
    );
    let name = prop::sample::select(vec!["up", "elsewhere"]);
    let service = prop::option::of(1_u128..3);
    prop_oneof![
        (1_u128..3, any::<bool>(), any::<bool>())
            .prop_map(|(id, upstream, enabled)| Step::Service { id, upstream, enabled }),
        (11_u128..15, 0_u8..4, service).prop_map(|(id, path, service)| Step::Route {
            id,
            path,
            service
        }),
        (21_u128..25, 0_usize..2, scope, 1_u32..4).prop_map(|(id, name, mut scopes, minute)| {
            scopes.dedup_by_key(|(scope, _)| *scope);
            Step::Plugin { id, name, scopes, minute }
        }),
        (31_u128..33, name).prop_map(|(id, name)| Step::Upstream { id, name }),
        (35_u128..38, 31_u128..33).prop_map(|(id, upstream)| Step::Target { id, upstream }),
        (41_u128..43, 0_u8..3).prop_map(|(id, name)| Step::Consumer { id, name }),
        (1_u128..43).prop_map(|id| Step::Delete { id }),
    ]
}

fn reference(id: u128) -> Value {
    json!({"id": Uuid::from_u128(id)})
}

/// Returns what a step changes; nothing where the config would not fit together.
fn changes(config: &Config, step: &Step) -> Vec<Change> {
    let has = |id: u128| config.iter().any(|it| it.id() == Uuid::from_u128(id));
    let written = match step {
        Step::Service { id, upstream, enabled } => {
            let host = if *upstream { "up" } else { "127.0.0.1" };
            entity(service::KIND, *id, json!({"host": host, "enabled": enabled}))
        }
        Step::Route { id, path, service } => {
            if service.is_some_and(|service| !has(service)) {
                return Vec::new();
            }
            let paths = if *path == 3 { "~/x[0-9]".to_owned() } else { format!("/{path}") };
            entity(route::KIND, *id, json!({"paths": [paths], "service": service.map(reference)}))
        }
        Step::Plugin { id, name, scopes, minute } => match name {
            0 => plugin(*id, "rate-limiting", scopes, json!({"minute": minute, "policy": "local"})),
            _ => {
                plugin(*id, "correlation-id", scopes, json!({"header_name": format!("x-{minute}")}))
            }
        },
        Step::Upstream { id, name } => entity(upstream::KIND, *id, json!({"name": name})),
        Step::Target { id, upstream } => {
            let target = format!("10.0.0.{id}:80");
            let upstream = reference(*upstream);
            entity(target::KIND, *id, json!({"target": target, "upstream": upstream}))
        }
        Step::Consumer { id, name } => {
            entity(consumer::KIND, *id, json!({"username": format!("c{name}")}))
        }
        Step::Delete { id } => {
            let used = config.iter().any(|it| {
                let service = it.document().get("service").cloned();
                it.kind() == route::KIND && service == Some(reference(*id))
            });
            let known = config.iter().find(|it| it.id() == Uuid::from_u128(*id));
            let deleted = known.filter(|_| !used).map(|it| Change::Deleted(it.key()));
            return deleted.into_iter().collect();
        }
    };
    // Names and scopes are unique.
    let key = |entity: &Entity| {
        let document = entity.document();
        let names = ["name", "username", "route", "service", "consumer"];
        names.map(|name| document.get(name).cloned())
    };
    let others = config.of_kind(written.kind(), None).filter(|it| it.id() != written.id());
    let unnamed = [service::KIND, route::KIND, target::KIND].contains(&written.kind());
    let taken = !unnamed && others.into_iter().any(|it| key(it) == key(&written));
    if taken { Vec::new() } else { vec![Change::Upserted(written)] }
}

/// Tells all that a runtime does with a route or a path, plugin instances by the id of their entity.
fn told(runtime: &Runtime, config: &Config) -> Vec<String> {
    let name = |wanted: &Arc<dyn crate::plugins::Plugin>| {
        let plugins = config.of_kind(plugin::KIND, None);
        let mut same = plugins.filter(|plugin| {
            let known = runtime.instances.instance(plugin.id());
            known.is_some_and(|known| Arc::ptr_eq(&known, wanted))
        });
        same.next().map(|plugin| plugin.id().as_u128())
    };
    let callers = [None, Some(Uuid::from_u128(41)), Some(Uuid::from_u128(42))];
    let chain = |chain: &Chain| {
        let slots = chain.in_phase(Phases::ACCESS).iter();
        let told = slots.map(|slot| callers.map(|caller| slot.select(caller).and_then(name)));
        format!("{:?}", told.collect::<Vec<_>>())
    };
    let destination = |slot: usize| {
        let it = runtime.destination(slot).unwrap();
        let service = it.service.as_ref().map(|target| match &target.host {
            Host::Peer(peer) => format!("{} {}", target.service.id, peer.host),
            Host::Upstream(upstream) => {
                let members = upstream.balancer.addresses();
                let members = members.iter().map(|it| (it.address.target.to_string(), it.weight));
                let (members, names) = (members.collect::<Vec<_>>(), upstream.balancer.names());
                format!("{} {} {members:?} {names:?}", target.service.id, upstream.id)
            }
        });
        format!("{} {:?} {:?} {}", it.route.id, it.route.paths, service, chain(&it.chain))
    };
    let found = ["/0", "/1", "/2", "/x1", "/"].map(|path| {
        let address = ([127, 0, 0, 1], 80).into();
        let net =
            NetView { protocol: Protocol::Http, sni: None, source: address, destination: address };
        let view = RequestView {
            method: "GET",
            host: "h",
            host_port: None,
            path,
            query: None,
            headers: &|_, _| {},
            net,
        };
        runtime.router.matched(&view).map_or(String::new(), |found| destination(found.slot))
    });
    let users = ["c0", "c1", "c2"].map(|name| {
        format!("{:?}", runtime.directory.caller_named(name).map(|caller| caller.consumer.id))
    });
    let mut told: Vec<String> = found.into_iter().chain(users).collect();
    told.push(format!("{} routes, else {}", runtime.router.len(), chain(&runtime.global)));
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_runtime_that_followed_changes_is_the_one_compiled_at_once(
        steps in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..16),
    ) {
        let catalog = catalog();
        let mut config = Config::default();
        let mut followed = compile(&config, None);
        for several in &steps {
            for step in several {
                for change in changes(&config, step) {
                    config.apply(&catalog, &change);
                }
            }
            followed = compile(&config, Some(&followed));
            let fresh = compile(&config, None);
            prop_assert_eq!(told(&followed, &config), told(&fresh, &config), "{:?}", several);
        }
    }
}

#[test]
fn another_flavour_reads_all_routes_anew() {
    let config = world(vec![]);
    let old = compile(&config, None);
    let tools = tools_of(Flavour::Traditional);
    let new = Runtime::compile(&config, HASH, Some(&old), &tools).unwrap();
    assert_eq!((new.router.flavour(), new.router.len()), (Flavour::Traditional, 1));
}
