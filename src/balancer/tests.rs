//! Balancers as a whole: shares, retries, what is kept over changes, names.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::dns::Record;
use super::*;
use crate::domain::kinds::upstream;
use crate::plugins;

/// Returns an upstream with these fields, and defaults.
pub(super) fn upstream(fields: Value) -> Upstream {
    let mut document =
        json!({"id": Uuid::nil(), "created_at": 1, "updated_at": 1, "name": "u.test"});
    let document = document.as_object_mut().unwrap();
    document.extend(fields.as_object().unwrap().clone());
    plugins::catalog(|_| true).complete(upstream::KIND, document).unwrap();
    serde_json::from_value(Value::Object(document.clone())).unwrap()
}

fn of_algorithm(algorithm: &str) -> Upstream {
    upstream(json!({"algorithm": algorithm}))
}

pub(super) fn target(text: &str, weight: u32) -> Target {
    let id = Uuid::nil();
    let document = json!({
        "id": id, "created_at": 1.0, "updated_at": 1.0, "upstream": {"id": id},
        "target": text, "weight": weight,
    });
    serde_json::from_value(document).unwrap()
}

fn targets(weights: &[u32]) -> Vec<Target> {
    weights.iter().enumerate().map(|(i, weight)| target(&text(i), *weight)).collect()
}

fn text(i: usize) -> String {
    format!("10.0.{}.{}:80", i / 250, i % 250 + 1)
}

/// Returns the number of the target that an address is of.
fn number(address: &Address) -> usize {
    let IpAddr::V4(ip) = address.ip else { panic!("tests use IPv4") };
    let [.., high, low] = ip.octets();
    usize::from(high) * 250 + usize::from(low) - 1
}

fn ask(hash: u64, tried: &Tried) -> Ask<'_> {
    Ask { hash, tried, now: Moment::now() }
}

fn next(balancer: &Balancer, key: usize) -> Option<usize> {
    let hash = hash::of(&key.to_be_bytes());
    balancer.pick(&ask(hash, &Tried::default())).map(|address| number(&address))
}

fn counts(balancer: &Balancer, picks: usize) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for key in 0..picks {
        *counts.entry(next(balancer, key).unwrap()).or_default() += 1;
    }
    counts
}

proptest! {
    #[test]
    fn round_robin_gives_each_target_exactly_its_weight(
        weights in prop::collection::vec(0_u32..50, 0..8)
    ) {
        let balancer = Balancer::build(&of_algorithm("round-robin"), &targets(&weights), None);
        let turn = weights.iter().sum::<u32>() as usize;
        let wanted = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        let wanted: BTreeMap<usize, usize> = wanted.map(|(i, weight)| (i, *weight as usize)).collect();
        prop_assert_eq!(counts(&balancer, turn), wanted);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn slots_are_dealt_the_same_way_at_once_and_step_by_step(
        steps in prop::collection::vec(prop::collection::vec(0_u32..4, 0..6), 1..5)
    ) {
        let upstream = upstream(json!({"hash_on": "ip", "slots": 1_000}));
        let mut stepped: Option<Balancer> = None;
        for weights in &steps {
            stepped = Some(Balancer::build(&upstream, &targets(weights), stepped.as_ref()));
        }
        let stepped = stepped.unwrap();
        let at_once = Balancer::build(&upstream, &targets(steps.last().unwrap()), None);
        for key in 0..500 {
            prop_assert_eq!(next(&stepped, key), next(&at_once, key));
        }
    }
}

#[test]
fn shares_are_the_weights_within_two_percent() {
    const PICKS: usize = 10_000;
    let weights = [100, 200, 300, 400, 0];
    for algorithm in ["round-robin", "consistent-hashing"] {
        let balancer = Balancer::build(&of_algorithm(algorithm), &targets(&weights), None);
        let counts = counts(&balancer, PICKS);
        for (i, weight) in weights.iter().enumerate() {
            let share = counts.get(&i).copied().unwrap_or(0) as f64 / PICKS as f64;
            let wanted = f64::from(*weight) / 1_000.0;
            assert!((share - wanted).abs() < 0.02, "{algorithm}: {i} gets {share}, not {wanted}");
        }
    }
}

#[test]
fn least_connections_shares_by_weight_what_is_under_way() {
    for (members, per_member) in [(4, 50), (100, 20)] {
        let weights: Vec<u32> = (0..members).map(|i| if i % 2 == 0 { 100 } else { 300 }).collect();
        let balancer =
            Balancer::build(&of_algorithm("least-connections"), &targets(&weights), None);
        let tried = Tried::default();
        let leases: Vec<_> = (0..members * per_member)
            .map(|_| balancer.pick(&ask(0, &tried)).unwrap().lease())
            .collect();
        let light = balancer
            .addresses()
            .iter()
            .filter(|it| it.weight == 100)
            .map(|it| it.address.connections())
            .sum::<u32>() as f64;
        let share = light / leases.len() as f64;
        assert!((share - 0.25).abs() < 0.02, "{members}: {share}");
        drop(leases);
        assert!(balancer.addresses().iter().all(|it| it.address.connections() == 0));
    }
}

#[test]
fn least_connections_takes_the_one_with_the_fewest() {
    let balancer = Balancer::build(&of_algorithm("least-connections"), &targets(&[1; 10]), None);
    let members = balancer.addresses();
    let _leases: Vec<_> =
        members.iter().filter(|it| number(&it.address) != 7).map(|it| it.address.lease()).collect();
    assert_eq!(next(&balancer, 0), Some(7));
}

#[test]
fn latency_takes_the_fastest_and_believes_newcomers_to_be_average() {
    let upstream = of_algorithm("latency");
    let old = Balancer::build(&upstream, &targets(&[1, 1, 1]), None);
    let now = Moment::now();
    for (member, latency_ms) in old.addresses().iter().zip([300, 20, 100]) {
        for _ in 0..1_000 {
            member.address.note_latency(Duration::from_millis(latency_ms), now);
        }
    }
    assert_eq!(next(&old, 0), Some(1));
    let new = Balancer::build(&upstream, &targets(&[1, 1, 1, 1]), Some(&old));
    let newcomer = new.addresses()[3].address.latency_ms(now);
    assert!((newcomer - 140.0).abs() < 2.0, "{newcomer}");
    assert_eq!(next(&new, 0), Some(1));
}

#[test]
fn one_more_target_takes_its_share_of_the_keys_and_moves_nothing_else() {
    const KEYS: usize = 10_000;
    let upstream = upstream(json!({"hash_on": "ip"}));
    let before = Balancer::build(&upstream, &targets(&[100; 9]), None);
    let after = Balancer::build(&upstream, &targets(&[100; 10]), Some(&before));
    let owners: Vec<_> = (0..KEYS).map(|key| (next(&before, key), next(&after, key))).collect();
    let moved: Vec<_> = owners.iter().filter(|(before, after)| before != after).collect();
    assert!(moved.iter().all(|(_, after)| *after == Some(9)));
    let share = moved.len() as f64 / KEYS as f64;
    assert!((share - 0.1).abs() < 0.02, "{share}");
}

#[test]
fn keys_of_one_that_is_down_are_spread_and_come_back() {
    let balancer = Balancer::build(&upstream(json!({"hash_on": "ip"})), &targets(&[1; 5]), None);
    let before: Vec<_> = (0..1_000).map(|key| next(&balancer, key)).collect();
    let down = balancer.addresses()[2].address.clone();
    down.health.set_available(false);
    let during: Vec<_> = (0..1_000).map(|key| next(&balancer, key)).collect();
    let mut heirs = HashSet::new();
    for (before, during) in before.iter().zip(&during) {
        if *before == Some(2) {
            heirs.insert(*during);
        } else {
            assert_eq!(before, during);
        }
    }
    assert_eq!(heirs.len(), 4, "{heirs:?}");
    down.health.set_available(true);
    assert_eq!((0..1_000).map(|key| next(&balancer, key)).collect::<Vec<_>>(), before);
}

#[test]
fn a_retry_goes_to_an_address_not_tried_and_never_to_one_that_is_down() {
    for algorithm in ["round-robin", "consistent-hashing", "least-connections", "latency"] {
        for members in [3, 60] {
            let weights = vec![1; members];
            let balancer = Balancer::build(&of_algorithm(algorithm), &targets(&weights), None);
            let members = balancer.addresses();
            let down = members.iter().find(|it| number(&it.address) == 1).unwrap();
            down.address.health.set_available(false);
            let members = members.len();
            let mut tried = Tried::default();
            let mut seen = HashSet::new();
            while let Some(address) = balancer.pick(&ask(7, &tried)) {
                assert!(seen.insert(number(&address)), "{algorithm}: {address:?} twice");
                tried.add(&address);
            }
            assert_eq!((seen.len(), seen.contains(&1)), (members - 1, false), "{algorithm}");
        }
    }
}

#[test]
fn nobody_is_picked_of_none() {
    for algorithm in ["round-robin", "consistent-hashing", "least-connections", "latency"] {
        for weights in [&[][..], &[0][..]] {
            assert_eq!(
                next(&Balancer::build(&of_algorithm(algorithm), &targets(weights), None), 1),
                None
            );
        }
    }
}

#[test]
fn consecutive_picks_are_spread_and_the_position_carries_over() {
    let upstream = of_algorithm("round-robin");
    let old = Balancer::build(&upstream, &targets(&[2, 2]), None);
    let picks: Vec<_> = (0..5).map(|key| next(&old, key).unwrap()).collect();
    assert_eq!(picks, [0, 1, 0, 1, 0]);
    let new = Balancer::build(&upstream, &targets(&[1, 1]), Some(&old));
    assert_eq!(next(&new, 0), Some(1));
}

#[test]
fn a_change_of_one_target_leaves_what_is_known_of_the_others() {
    let upstream = of_algorithm("least-connections");
    let old = Balancer::build(&upstream, &targets(&[1, 1]), None);
    old.addresses()[0].address.health.set_available(false);
    let _lease = old.addresses()[0].address.lease();
    let new = Balancer::build(&of_algorithm("latency"), &targets(&[5, 1, 1]), Some(&old));
    let kept = &new.addresses()[0];
    assert!(Arc::ptr_eq(&kept.address, &old.addresses()[0].address));
    assert_eq!((kept.weight, kept.address.connections()), (5, 1));
    assert!(!kept.address.health.available());
    assert!(Arc::ptr_eq(&new.retries, &old.retries));
}

fn records(ips: &[[u8; 4]]) -> Records {
    ips.iter().map(|ip| Record::of((*ip).into())).collect()
}

#[tokio::test]
async fn a_name_has_no_address_until_it_is_told_and_follows_what_is_told() {
    let upstream = of_algorithm("round-robin");
    let balancer = Balancer::build(&upstream, &[target("A.test:81", 10)], None);
    assert_eq!((balancer.names(), balancer.is_pending()), (vec!["a.test".into()], true));
    assert!(balancer.pick(&ask(0, &Tried::default())).is_none());
    balancer.publish("a.test", records(&[]));
    assert!(!balancer.is_pending());
    assert_eq!(balancer.health("a.test", 81).health, health::Health::DnsError);

    balancer.publish("a.test", records(&[[10, 0, 0, 1], [10, 0, 0, 2]]));
    balancer.resolved().await;
    let members = balancer.addresses();
    let seen = |it: &Member| (it.address.socket().to_string(), it.weight);
    let wanted = [("10.0.0.1:81".to_owned(), 10), ("10.0.0.2:81".to_owned(), 10)];
    assert_eq!(members.iter().map(seen).collect::<Vec<_>>(), wanted);
    assert_eq!(balancer.authority(&members[0].address, 80), "a.test:81");

    let before = balancer.generation();
    balancer.publish("a.test", records(&[[10, 0, 0, 1], [10, 0, 0, 2]]));
    assert!(Arc::ptr_eq(&before, &balancer.generation()), "nothing changed");
    balancer.publish("a.test", records(&[[10, 0, 0, 2], [10, 0, 0, 3]]));
    let now = balancer.addresses();
    assert!(Arc::ptr_eq(&members[1].address, &now[0].address));

    let again = Balancer::build(&upstream, &[target("a.test:81", 1)], Some(&balancer));
    assert!(!again.is_pending(), "what the name stood for is known");
    assert_eq!(again.addresses().len(), 2);
}

#[test]
fn srv_records_bring_ports_weights_and_names() {
    let srv = |ip: [u8; 4], name: &str, port, weight| Record {
        srv_name: Some(name.into()),
        port,
        weight: Some(weight),
        ..Record::of(ip.into())
    };
    let found: Records = [
        srv([10, 0, 0, 1], "one.test", Some(1001), 3),
        srv([10, 0, 0, 2], "two.test", None, 1),
        srv([10, 0, 0, 2], "two.test", None, 1),
    ]
    .into();
    for uses_srv_name in [false, true] {
        let upstream = upstream(json!({"use_srv_name": uses_srv_name}));
        let balancer = Balancer::build(&upstream, &[target("s.test:80", 77)], None);
        balancer.publish("s.test", found.clone());
        let seen = |it: &Member| {
            let host = balancer.authority(&it.address, 80).to_owned();
            (it.address.socket().to_string(), it.weight, host)
        };
        let seen: Vec<_> = balancer.addresses().iter().map(seen).collect();
        let hosts =
            if uses_srv_name { ["one.test:1001", "two.test"] } else { ["s.test:1001", "s.test"] };
        let wanted = [
            ("10.0.0.1:1001".to_owned(), 3, hosts[0].to_owned()),
            ("10.0.0.2:80".to_owned(), 2, hosts[1].to_owned()),
        ];
        assert_eq!(seen, wanted);
    }
    let off = Balancer::build(&upstream(json!({})), &[target("s.test:80", 0)], None);
    off.publish("s.test", found);
    assert!(off.addresses().iter().all(|it| it.weight == 0));
}

/// Returns how many of some picks at a moment go to a target.
fn share(balancer: &Balancer, of: usize, now: Moment) -> usize {
    let tried = Tried::default();
    let picks = (0..1_000).map(|_| balancer.pick(&Ask { hash: 0, tried: &tried, now }).unwrap());
    picks.filter(|address| number(address) == of).count()
}

#[test]
fn an_address_that_comes_or_comes_back_grows_to_its_share() {
    let within = Duration::from_secs(100);
    let upstream = upstream(json!({
        "algorithm": "round-robin",
        "healthchecks": {"passive": {"unhealthy": {"tcp_failures": 1}}},
    }));
    let build = |weights: &[u32], old: Option<&Balancer>| {
        Balancer::build(&upstream, &targets(weights), old).with_slow_start(within)
    };
    let first = build(&[1, 1, 1], None);
    let now = Moment::now();
    assert!((333..=334).contains(&share(&first, 0, now)), "all of the first are whole");
    let balancer = build(&[1, 1, 1, 1], Some(&first));
    let begin = Moment::now();
    let at = |seconds| begin.after(Duration::from_secs(seconds));
    let grows = |balancer: &Balancer, at: &dyn Fn(u64) -> Moment| {
        let seen = [0, 50, 101].map(|seconds| share(balancer, 3, at(seconds)));
        // Of 250 at last: at half of it one turn of two, and others take the other.
        assert!(seen[0] <= 2 && (100..=180).contains(&seen[1]) && seen[2] == 250, "{seen:?}");
    };
    grows(&balancer, &at);

    let member = balancer.addresses()[3].address.clone();
    balancer.report(&member, health::Outcome::Failed);
    assert_eq!(share(&balancer, 3, at(500)), 0);
    balancer.declare(&member.target, None, true).unwrap();
    let again = Moment::now();
    grows(&balancer, &|seconds| again.after(Duration::from_secs(seconds)));
    // A balancer that takes over knows.
    let next = build(&[1, 1, 1, 1], Some(&balancer));
    assert!(share(&next, 3, again) <= 2);
}

#[test]
fn a_slow_start_divides_the_weight_where_scores_are_compared() {
    let build = |old: Option<&Balancer>, weights: &[u32]| {
        let upstream = of_algorithm("least-connections");
        Balancer::build(&upstream, &targets(weights), old).with_slow_start(Duration::from_secs(100))
    };
    let balancer = build(Some(&build(None, &[1])), &[1, 1]);
    let half = Moment::now().after(Duration::from_secs(50));
    let mut leases = Vec::new();
    for _ in 0..30 {
        let tried = Tried::default();
        leases.push(balancer.pick(&Ask { hash: 0, tried: &tried, now: half }).unwrap().lease());
    }
    let counts = [0, 1].map(|at| balancer.addresses()[at].address.connections());
    assert!(counts[0].abs_diff(20) <= 1 && counts[1].abs_diff(10) <= 1, "{counts:?}");
}
