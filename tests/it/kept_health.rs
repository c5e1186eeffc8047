//! What is known of targets outlives the process: in a successor always, after a restart on request.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::{Cluster, poll};
use crate::health::{Mood, Moody, check, until_told_health};
use crate::http;
use crate::upgrade::{Node, ended};

/// Asks until a node that has just started serves, then some times more: who answers?
async fn answers(node: &Node, moody: SocketAddr, good: SocketAddr) -> [bool; 2] {
    let answer = async || http::get(node.proxy, "/").await.ok().filter(|it| it.status == 200);
    let mut bodies = vec![poll(answer).await.expect("the node serves").body];
    for _ in 0..5 {
        bodies.push(answer().await.unwrap().body);
    }
    [moody, good].map(|address| bodies.contains(&address.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_goes_to_a_successor_always_and_over_a_restart_on_request() {
    let mut cluster = Cluster::start().await;
    let (good, moody) = (Moody::start().await, Moody::start().await);
    let passive = json!({"unhealthy": {"http_failures": 1, "http_statuses": [500]}});
    let fields = json!({"healthchecks": {"passive": passive}});
    check(&cluster, fields, &[good.address, moody.address]).await;
    cluster.stop_data().await;
    let node = Node::start(&cluster).await;
    let (good, file) = (good.address, cluster.prefix("process").join("health_state"));
    take_out(&node, &moody).await;

    // Its successor knows, and so does the successor of that.
    for _ in 0..2 {
        let pid = node.pid();
        node.run("upgrade", &[]).await.says("Kong upgraded\n");
        assert_eq!(answers(&node, moody.address, good).await, [false, true]);
        until_told_health(node.status, moody.address, "UNHEALTHY").await;
        ended(pid).await;
        assert!(!file.exists(), "nothing is left for a third");
    }

    // A restart forgets it, unless that is not wanted.
    let keep = [("KONG_HEALTH_STATE", "keep")];
    node.run("stop", &[]).await;
    assert!(!file.exists());
    node.run("start", &keep).await.says("Kong started\n");
    assert_eq!(answers(&node, moody.address, good).await, [true, true]);
    take_out(&node, &moody).await;
    node.run("stop", &[]).await;
    assert!(file.exists());
    node.run("start", &keep).await.says("Kong started\n");
    assert_eq!(answers(&node, moody.address, good).await, [false, true]);
    assert!(!file.exists(), "it counts once");
    node.run("stop", &[]).await;
    node.run("start", &[]).await.says("Kong started\n");
    assert_eq!(answers(&node, moody.address, good).await, [true, true]);
}

/// Lets a target fail once. From then on it is well, and as nobody probes it, only what is known keeps
/// requests away.
async fn take_out(node: &Node, moody: &Moody) {
    until_told_health(node.status, moody.address, "HEALTHY").await;
    moody.is(Mood::Answers(500));
    let failed =
        poll(async || http::get(node.proxy, "/").await.ok().filter(|answer| answer.status == 500));
    failed.await.expect("every second request gets there");
    until_told_health(node.status, moody.address, "UNHEALTHY").await;
    moody.is(Mood::Answers(200));
}

/// Returns the average latencies of the targets, in milliseconds, once the status API tells of both.
async fn latencies(node: &Node, targets: [SocketAddr; 2]) -> [f64; 2] {
    let told = poll(async || {
        let page = http::get(node.status, "/metrics").await.ok()?.body;
        let of = |target: &SocketAddr| {
            let start = format!(
                "hybridctl_upstream_target_latency_milliseconds{{upstream=\"u.test\",target=\"{target}\""
            );
            let line = page.lines().find(|line| line.starts_with(&start))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        Some([of(&targets[0])?, of(&targets[1])?])
    });
    told.await.expect("the latencies are told")
}

/// The same once the first of them is above 0.
async fn latency(node: &Node, targets: [SocketAddr; 2]) -> f64 {
    let told = poll(async || Some(latencies(node, targets).await[0]).filter(|it| *it > 0.0));
    told.await.expect("the latency is known")
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_fades_over_an_upgrade_and_a_restart_and_is_not_lost() {
    let mut cluster = Cluster::start().await;
    let (good, moody) = (Moody::start().await, Moody::start().await);
    let targets = [moody.address, good.address];
    check(&cluster, json!({"algorithm": "latency"}), &targets).await;
    cluster.stop_data().await;
    let node = Node::start(&cluster).await;
    // Who fails counts as one who takes a second at the least.
    moody.is(Mood::Closes);
    let failed = poll(async || {
        http::get(node.proxy, "/").await.ok().filter(|it| it.status == 200)?;
        Some(latencies(&node, targets).await).filter(|[moody, good]| moody > good)
    });
    let [first, _] = failed.await.expect("one fails and the other answers");
    let keep = [("KONG_HEALTH_STATE", "keep")];
    node.run("upgrade", &keep).await.says("Kong upgraded\n");
    let second = latency(&node, targets).await;
    assert!(second <= first, "{second} {first}");
    node.run("stop", &[]).await;
    node.run("start", &keep).await.says("Kong started\n");
    let third = latency(&node, targets).await;
    assert!(third <= second, "{third} {second}");
    node.run("stop", &[]).await;
    node.run("start", &[]).await.says("Kong started\n");
    assert_eq!(latencies(&node, targets).await, [0.0, 0.0]);
}
