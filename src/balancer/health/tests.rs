//! Upstreams as a whole: thresholds, declarations, what is told, and rounds of probes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::checker::{CheckerTask, checker};
use super::*;
use crate::balancer::address::Moment;
use crate::balancer::dns::Record;
use crate::balancer::target::Endpoint;
use crate::balancer::tests::{target, upstream};
use crate::balancer::{Ask, Balancer, Tried};
use crate::clock::Clock;

const DEADLINE: Duration = Duration::from_secs(10);

fn build(healthchecks: Value, weights: &[u32], old: Option<&Balancer>) -> Arc<Balancer> {
    let upstream = upstream(json!({"healthchecks": healthchecks}));
    let targets = weights.iter().enumerate();
    let targets: Vec<_> =
        targets.map(|(i, weight)| target(&format!("10.0.0.{}:80", i + 1), *weight)).collect();
    Arc::new(Balancer::build(&upstream, &targets, old))
}

fn broken() -> Outcome {
    Outcome::Status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A circuit breaker that the first bad answer opens.
fn breaker(threshold: f64) -> Value {
    json!({"threshold": threshold, "passive": {"unhealthy": {"http_failures": 1}}})
}

fn picks(balancer: &Balancer) -> bool {
    let ask = Ask { hash: 0, tried: &Tried::default(), now: Moment::now() };
    balancer.pick(&ask).is_some()
}

proptest! {
    /// Kong's formula, at every step of turns, changes of targets and swaps.
    #[test]
    fn an_upstream_is_admitted_above_its_threshold(
        threshold in 0_u32..=100,
        weights in prop::collection::vec(0_u32..5, 1..5),
        steps in prop::collection::vec((0_usize..5, any::<bool>(), any::<bool>()), 0..20),
    ) {
        let mut balancer = build(breaker(threshold.into()), &weights, None);
        for (index, healthy, is_swapped) in steps {
            let before = balancer.clone();
            if is_swapped {
                balancer = build(breaker(threshold.into()), &weights, Some(&before));
            }
            let members = balancer.addresses();
            let member = &members[index % members.len()];
            // What comes late tells the balancer that it began with.
            before.set(&member.address, healthy, Why::Declared);
            let total: u32 = members.iter().map(|it| it.weight).sum();
            let available = members.iter().filter(|it| it.address.health.available());
            let available: u32 = available.map(|it| it.weight).sum();
            let admits = available * 100 > threshold * total;
            prop_assert_eq!(balancer.admits(), admits || threshold == 0);
            prop_assert_eq!(picks(&balancer), admits);
        }
    }
}

#[test]
fn hashing_ignores_the_threshold() {
    let fields = json!({"hash_on": "ip", "healthchecks": breaker(60.0)});
    let targets = [target("10.0.0.1:80", 1), target("10.0.0.2:80", 1)];
    let balancer = Balancer::build(&upstream(fields), &targets, None);
    balancer.report(&balancer.addresses()[0].address, broken());
    assert!(!balancer.admits() && picks(&balancer));
}

#[test]
fn traffic_says_nothing_where_nobody_asks() {
    let balancer = build(json!({}), &[1], None);
    let address = &balancer.addresses()[0].address;
    for outcome in [broken(), Outcome::Failed, Outcome::TimedOut] {
        balancer.report(address, outcome);
    }
    let health = &address.health;
    assert_eq!((health.state(), health.failures()), (State::Healthy, Failures::default()));
    let endpoint = Endpoint::new("10.0.0.1", 80);
    let refused = balancer.declare(&endpoint, None, false).unwrap_err();
    assert_eq!(refused.to_string(), "no healthchecker found for u.test");
}

#[test]
fn a_target_or_an_address_is_declared() {
    let balancer = build(breaker(0.0), &[1, 1], None);
    let states = || {
        let members = balancer.addresses();
        members.iter().map(|it| it.address.health.available()).collect::<Vec<_>>()
    };
    let one = Endpoint::new("10.0.0.1", 80);
    balancer.declare(&one, None, false).unwrap();
    assert_eq!(states(), [false, true]);
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    balancer.declare(&one, Some(address), true).unwrap();
    assert_eq!(states(), [true, true]);
    let other = "10.0.0.2:80".parse().unwrap();
    let refused = balancer.declare(&one, Some(other), false).unwrap_err();
    assert_eq!(refused, DeclareError::NoAddress);
    assert_eq!(states(), [true, true]);
}

#[test]
fn health_outlives_a_change_of_other_targets() {
    let old = build(breaker(0.0), &[1, 1], None);
    old.report(&old.addresses()[0].address, broken());
    let new = build(breaker(0.0), &[5, 1, 1], Some(&old));
    let health = |port: &str| new.health(port, 80).health;
    assert_eq!(health("10.0.0.1"), Health::Unhealthy);
    assert_eq!((health("10.0.0.2"), health("10.0.0.3")), (Health::Healthy, Health::Healthy));
}

/// An upstream in a test: it takes connections and answers as it is told.
struct Server {
    address: SocketAddr,
    status: watch::Sender<u16>,
    asked: mpsc::UnboundedReceiver<()>,
}

impl Server {
    async fn start() -> Self {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (status, answered) = watch::channel(200);
        let (told, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let answer = format!("HTTP/1.0 {} x\r\n\r\n", *answered.borrow());
                let _ = stream.write_all(answer.as_bytes()).await;
                if told.send(()).is_err() {
                    return;
                }
            }
        });
        Self { address, status, asked }
    }

    /// Waits for so many more probes.
    async fn probes(&mut self, count: usize) {
        for _ in 0..count {
            tokio::time::timeout(DEADLINE, self.asked.recv()).await.unwrap().unwrap();
        }
    }
}

fn probed(servers: &[&Server], active: Value, old: Option<&Balancer>) -> Arc<Balancer> {
    let upstream = upstream(json!({"healthchecks": {"active": active}}));
    let targets: Vec<_> =
        servers.iter().map(|server| target(&server.address.to_string(), 1)).collect();
    Arc::new(Balancer::build(&upstream, &targets, old))
}

fn often(successes: u32, failures: u32) -> Value {
    json!({
        "healthy": {"interval": 0.1, "successes": successes},
        "unhealthy": {"interval": 0.1, "http_failures": failures, "tcp_failures": failures},
    })
}

/// Runs a task until the sender is told so.
fn run(task: CheckerTask) -> watch::Sender<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(task.run(stopped));
    stop
}

async fn until(balancer: &Balancer, state: State) {
    let address = balancer.addresses()[0].address.clone();
    let reached = async {
        while address.health.state() != state {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.expect("the state is reached");
}

#[tokio::test]
async fn probes_turn_an_address_over_and_back() {
    let mut server = Server::start().await;
    let (checker, task) = checker(Clock::System, None);
    let _stop = run(task);
    let balancer = probed(&[&server], often(2, 2), None);
    checker.follow(&balancer, None);
    server.probes(2).await;
    assert_eq!(balancer.addresses()[0].address.health.state(), State::Healthy);
    server.status.send_replace(503);
    until(&balancer, State::Unhealthy).await;
    // A status of neither list says nothing.
    server.status.send_replace(418);
    server.probes(3).await;
    assert!(!picks(&balancer));
    server.status.send_replace(302);
    until(&balancer, State::Healthy).await;
    assert!(picks(&balancer));
}

#[tokio::test]
async fn probing_follows_the_newest_balancer_and_ends_with_the_last() {
    let (mut one, mut two) = (Server::start().await, Server::start().await);
    let (checker, task) = checker(Clock::System, None);
    let _stop = run(task);
    let first = probed(&[&one], often(1, 1), None);
    checker.follow(&first, None);
    one.probes(1).await;
    let second = probed(&[&two], often(1, 1), Some(&first));
    checker.follow(&second, None);
    two.probes(1).await;
    // One that was compiled and never served is gone at once, and the one before goes on.
    let refused = probed(&[&one], json!({}), Some(&second));
    checker.follow(&refused, None);
    drop(refused);
    while two.asked.try_recv().is_ok() {}
    two.probes(2).await;
    drop((first, second));
    // Nobody asks any more: the wait for the next probe is longer than ten intervals.
    let silence = async {
        loop {
            match tokio::time::timeout(Duration::from_secs(1), two.asked.recv()).await {
                Err(_) => return,
                Ok(asked) => asked.unwrap(),
            }
        }
    };
    tokio::time::timeout(DEADLINE, silence).await.expect("probing ends");
}

#[tokio::test]
async fn what_nobody_checks_any_more_is_available() {
    let (checker, task) = checker(Clock::System, None);
    let _stop = run(task);
    let old = build(breaker(0.0), &[1], None);
    checker.follow(&old, None);
    old.report(&old.addresses()[0].address, broken());
    assert!(!picks(&old));
    let new = build(json!({}), &[1], Some(&old));
    checker.follow(&new, None);
    until(&new, State::Healthy).await;
}

/// Runs a checker with a file over a balancer that begins anew, and stops it.
async fn run_once(path: &std::path::Path, act: impl AsyncFnOnce(&Balancer)) {
    let file = HealthFile::new(path.to_owned(), Clock::System, true);
    let (checker, task) = checker(Clock::System, Some(file));
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(task.run(stopped));
    let balancer = build(breaker(0.0), &[1, 1], None);
    checker.follow(&balancer, None);
    act(&balancer).await;
    stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test]
async fn what_was_down_at_a_stop_is_down_after_a_start() {
    let path = std::env::temp_dir().join(format!("hybridctl-health-{}", Clock::System.id()));
    let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
    let first = |balancer: &Balancer| balancer.addresses()[0].address.clone();
    run_once(&path, async |balancer| {
        balancer.report(&first(balancer), broken());
    })
    .await;
    assert_eq!(lines(), 2);
    run_once(&path, async |balancer| {
        until(balancer, State::Unhealthy).await;
        assert!(!path.exists(), "a crash from here on leaves nothing behind");
        balancer.set(&first(balancer), true, Why::Declared);
    })
    .await;
    assert_eq!(lines(), 1);
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn what_was_down_is_down_as_soon_as_its_name_is_resolved() {
    let path = std::env::temp_dir().join(format!("hybridctl-health-{}", Clock::System.id()));
    let file = HealthFile::new(path, Clock::System, false);
    let build = |id: u128, to: &str| {
        let fields = json!({"id": uuid::Uuid::from_u128(id), "healthchecks": breaker(0.0)});
        Arc::new(Balancer::build(&upstream(fields), &[target(to, 1)], None))
    };
    let both = || [build(1, "a.test:80"), build(2, "10.0.0.2:80")];
    let publish = |balancer: &Balancer| {
        balancer.publish("a.test", [Record::of([10, 0, 0, 1].into())].into());
    };
    let [named, plain] = both();
    publish(&named);
    for balancer in [&named, &plain] {
        balancer.report(&balancer.addresses()[0].address, broken());
    }
    file.write([named, plain].into_iter());

    let (checker, task) = checker(Clock::System, Some(file));
    let _stop = run(task);
    let [named, plain] = both();
    checker.follow(&named, None);
    checker.follow(&plain, None);
    // Who was followed after it is told already.
    until(&plain, State::Unhealthy).await;
    publish(&named);
    until(&named, State::Unhealthy).await;
}
