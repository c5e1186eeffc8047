//! What Prometheus is told of upstreams, by Kong's names and by ours.

use serde_json::{Value, json};

use crate::harness::{Cluster, Directory, poll};
use crate::health::{Mood, Moody};
use crate::http;
use crate::name_server::NameServer;
use crate::without_database::Node;

fn health(upstream: &str, target: &str, address: &str, wanted: &str) -> Vec<String> {
    let line = |state: &str| {
        let labels = format!(
            "upstream=\"{upstream}\",target=\"{target}\",address=\"{address}\",state=\"{state}\""
        );
        let value = u8::from(state == wanted);
        format!("kong_upstream_target_health{{{labels},subsystem=\"http\"}} {value}")
    };
    ["healthchecks_off", "healthy", "unhealthy", "dns_error"].map(line).to_vec()
}

/// A line of our own metrics, without its value.
fn ours(name: &str, upstream: &str, address: &str, more: &str) -> String {
    let labels = format!("upstream=\"{upstream}\",target=\"{address}\",address=\"{address}\"");
    format!("hybridctl_upstream_target_{name}{{{labels}{more}}}")
}

/// Reads a page until it has all of these lines.
async fn until_told(at: std::net::SocketAddr, lines: &[String]) {
    let mut last = String::new();
    let told = poll(async || {
        last = http::get(at, "/metrics").await.ok()?.body;
        lines.iter().all(|wanted| last.lines().any(|line| line == wanted)).then_some(())
    });
    assert!(told.await.is_some(), "not all of {lines:#?} in {last}");
}

async fn upstream(cluster: &Cluster, name: &str, fields: Value, targets: &[&str]) {
    cluster.put(&format!("/upstreams/{name}"), fields).await;
    for target in targets {
        let path = format!("/upstreams/{name}/targets");
        assert_eq!(cluster.call("POST", &path, &json!({"target": target})).await.status, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_is_told_with_its_state_and_what_was_counted_of_it() {
    let mut cluster = Cluster::without_data().await;
    let names = NameServer::start().await;
    let resolver = names.address.to_string();
    cluster.start_data_in("dp", &[("KONG_DNS_RESOLVER", &resolver)]).await;
    let (good, bad) = (Moody::start().await, Moody::start().await);
    let (good, at_bad) = (good.address.to_string(), bad.address.to_string());
    let passive = json!({"unhealthy": {"http_failures": 2, "http_statuses": [500]}});
    let checked = json!({"healthchecks": {"passive": passive}});
    upstream(&cluster, "checked.test", checked, &[&good, &at_bad]).await;
    let fields = json!({"algorithm": "least-connections"});
    upstream(&cluster, "busy.test", fields, &[&good, "none.test:80"]).await;
    upstream(&cluster, "fast.test", json!({"algorithm": "latency"}), &[&good]).await;
    cluster.put("/services/s", json!({"url": "http://checked.test/"})).await;
    cluster.put("/routes/r", json!({"paths": ["/"], "service": {"name": "s"}})).await;
    cluster.converge().await;
    bad.is(Mood::Answers(500));
    for _ in 0..4 {
        http::get(cluster.proxy(), "/").await.unwrap();
    }
    let mut lines = [
        health("checked.test", &good, &good, "healthy"),
        health("checked.test", &at_bad, &at_bad, "unhealthy"),
        health("busy.test", &good, &good, "healthchecks_off"),
        health("busy.test", "none.test:80", "", "dns_error"),
    ]
    .concat();
    for (kind, count) in [("tcp", 0), ("http", 2), ("timeout", 0)] {
        let more = format!(",kind=\"{kind}\"");
        lines.push(format!("{} {count}", ours("failures_total", "checked.test", &at_bad, &more)));
    }
    lines.push(format!("{} 0", ours("connections", "busy.test", &good, "")));
    lines.push(format!("{} 0", ours("latency_milliseconds", "fast.test", &good, "")));
    until_told(cluster.status(), &lines).await;

    // A control plane carries no traffic.
    let of_control = http::get(cluster.admin(), "/metrics").await.unwrap().body;
    assert!(!of_control.contains("upstream_target"), "{of_control}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_of_a_node_with_traffic_tells_as_its_status_api_does() {
    let directory = Directory::new();
    let target = "127.0.0.1:9";
    let tree = json!({
        "_format_version": "3.0",
        "upstreams": [{"name": "u.test", "targets": [{"target": target}]}],
    });
    let node = Node::start(&directory, &tree);
    node.until(node.admin, "/metrics", 200).await;
    let lines = health("u.test", target, target, "healthchecks_off");
    until_told(node.admin, &lines).await;
    until_told(node.status, &lines).await;
}
