//! Names to addresses, by a name server of the test's own: what is asked, kept, and used when
//! nobody can say.

use std::net::IpAddr;
use std::time::Duration;

use hybridctl::balancer::dns::ResolveError;
use hybridctl::balancer::dns::core::{CoreResolver, Resolved};
use hybridctl::balancer::dns::resolver::{Resolver, resolver};
use hybridctl::settings::Dns;
use tokio::sync::watch;

use crate::harness::poll;
use crate::name_server::{NameServer, Said};

/// A resolver that asks a name server; it ends with this value.
struct Names {
    resolver: Resolver,
    core: CoreResolver,
    _stop: watch::Sender<bool>,
}

impl Names {
    fn of(server: &NameServer, change: impl FnOnce(&mut Dns)) -> Self {
        let mut settings = Dns {
            resolver: vec![server.address.to_string()],
            hosts_file: "/etc/hosts".into(),
            order: ["LAST", "SRV", "A", "CNAME"].map(str::to_owned).to_vec(),
            valid_ttl: None,
            stale_ttl: Duration::from_secs(3600),
            not_found_ttl: Duration::from_secs(30),
            error_ttl: Duration::ZERO,
            cache_size: 100,
            srv_by_form: false,
        };
        change(&mut settings);
        let (resolver, task) = resolver(&settings);
        let stop = watch::Sender::new(false);
        tokio::spawn(task.run(stop.subscribe()));
        let core = CoreResolver::new(resolver.clone());
        Self { resolver, core, _stop: stop }
    }

    fn core(&self) -> CoreResolver {
        CoreResolver::new(self.resolver.clone())
    }
}

fn a(ttl: u32, last: u8) -> Said {
    Said::A { ttl, ips: vec![[127, 0, 0, last]] }
}

fn first(found: Result<Resolved, ResolveError>) -> Option<(IpAddr, Option<u16>)> {
    found.ok()?.nth(0).map(|record| (record.ip, record.port))
}

fn ip(last: u8) -> Option<(IpAddr, Option<u16>)> {
    Some(([127, 0, 0, last].into(), None))
}

#[tokio::test]
async fn a_name_is_asked_for_once_whoever_wants_it() {
    let server = NameServer::start().await;
    server.say("a.test", a(60, 1));
    let names = Names::of(&server, |_| ());
    let cores = [names.core(), names.core(), names.core()];
    let found =
        futures_util::future::join_all(cores.iter().map(|core| core.resolve("A.test."))).await;
    assert!(found.into_iter().all(|found| first(found) == ip(1)));
    for core in &cores {
        assert_eq!(first(core.resolve("a.test").await), ip(1));
    }
    assert_eq!(server.asked("a.test"), 1);
}

#[tokio::test]
async fn addresses_are_used_in_turn_and_a_retry_takes_the_next() {
    let server = NameServer::start().await;
    server.say("a.test", Said::A { ttl: 60, ips: vec![[127, 0, 0, 1], [127, 0, 0, 2]] });
    let names = Names::of(&server, |_| ());
    let core = &names.core;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let found = core.resolve("a.test").await.unwrap();
        let last = |n| match found.nth(n).unwrap().ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        seen.push((last(0), last(1), last(2)));
    }
    assert_eq!(seen, [(1, 2, 1), (2, 1, 2), (1, 2, 1)]);
}

#[tokio::test]
async fn an_answer_is_used_until_its_time_is_over_and_then_while_it_is_renewed() {
    let server = NameServer::start().await;
    server.say("a.test", a(1, 1));
    let names = Names::of(&server, |_| ());
    let core = &names.core;
    assert_eq!(first(core.resolve("a.test").await), ip(1));
    server.say("a.test", a(60, 2));
    let changed = poll(async || {
        let found = first(core.resolve("a.test").await);
        assert!(found.is_some(), "there is an address at all times");
        (found == ip(2)).then_some(())
    });
    changed.await.unwrap();
    assert_eq!(server.asked("a.test"), 2);
}

#[tokio::test]
async fn old_addresses_stand_in_while_nobody_can_say() {
    for failure in [Some(Said::Failure), None] {
        let server = NameServer::start().await;
        server.say("a.test", a(0, 1));
        let names = Names::of(&server, |settings| settings.not_found_ttl = Duration::ZERO);
        let core = &names.core;
        assert_eq!(first(core.resolve("a.test").await), ip(1));
        match failure {
            Some(failure) => server.say("a.test", failure),
            None => server.deny("a.test"),
        }
        assert_eq!(first(core.resolve("a.test").await), ip(1));
        server.say("a.test", a(0, 2));
        let changed = poll(async || (first(core.resolve("a.test").await) == ip(2)).then_some(()));
        changed.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_may_not_be_kept_is_asked_for_each_time() {
    let server = NameServer::start().await;
    server.say("a.test", a(0, 1));
    let names = Names::of(&server, |_| ());
    let core = &names.core;
    for times in 1..4 {
        assert_eq!(first(core.resolve("a.test").await), ip(1));
        assert_eq!(server.asked("a.test"), times);
    }
    let keeping = Names::of(&server, |settings| settings.valid_ttl = Some(Duration::from_secs(9)));
    let kept = &keeping.core;
    for _ in 0..3 {
        assert_eq!(first(kept.resolve("a.test").await), ip(1));
    }
    assert_eq!(server.asked("a.test"), 4, "dns_valid_ttl outweighs what the record says");
}

#[tokio::test]
async fn a_name_that_is_not_there_is_remembered_as_such() {
    let server = NameServer::start().await;
    let names = Names::of(&server, |_| ());
    let core = &names.core;
    for _ in 0..3 {
        let error = core.resolve("none.test").await.unwrap_err();
        assert!(error.is_certain, "{error}");
    }
    assert_eq!(server.asked("none.test"), 1);
    server.say("broken.test", Said::Failure);
    let error = core.resolve("broken.test").await.unwrap_err();
    assert!(!error.is_certain, "{error}");
    server.say("broken.test", a(60, 1));
    assert_eq!(first(core.resolve("broken.test").await), ip(1));
}

#[tokio::test]
async fn services_of_the_lowest_priority_bring_their_ports_by_weight() {
    let server = NameServer::start().await;
    let services =
        vec![(1, 3, 1001, "one.test"), (1, 1, 1002, "two.test"), (2, 9, 1003, "one.test")];
    server.say("s.test", Said::Srv { ttl: 60, services });
    server.say("one.test", a(60, 1));
    server.say("two.test", a(60, 2));
    let names = Names::of(&server, |_| ());
    let core = &names.core;
    let mut ports = Vec::new();
    for _ in 0..100 {
        let found = core.resolve("s.test").await.unwrap();
        ports.extend(found.nth(0).unwrap().port);
    }
    let share = ports.iter().filter(|port| **port == 1001).count();
    assert!((74..=76).contains(&share), "{share}");
    assert_eq!(ports.iter().filter(|port| **port == 1002).count(), 100 - share);
    assert_eq!(server.asked("s.test"), 0, "there was an answer before");

    let by_form = Names::of(&server, |settings| settings.srv_by_form = true);
    let by_form = &by_form.core;
    assert!(by_form.resolve("s.test").await.is_err(), "its form is not that of a service");
}

#[tokio::test]
async fn the_hosts_file_comes_first() {
    let server = NameServer::start().await;
    server.say("localhost", a(60, 9));
    let names = Names::of(&server, |_| ());
    let core = &names.core;
    assert_eq!(first(core.resolve("localhost").await), ip(1));
    assert_eq!(first(core.resolve("127.0.0.7").await), ip(7));
    assert_eq!(server.asked("localhost"), 0);
}

#[tokio::test]
async fn an_unused_name_makes_room_for_another() {
    let server = NameServer::start().await;
    let names = Names::of(&server, |settings| settings.cache_size = 3);
    let core = &names.core;
    for i in 0..10 {
        let name = format!("n{i}.test");
        server.say(&name, a(60, 1));
        assert_eq!(first(core.resolve(&name).await), ip(1));
        assert_eq!(first(core.resolve(&name).await), ip(1));
        assert_eq!(server.asked(&name), 1);
    }
}
