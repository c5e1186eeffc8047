//! One request through both planes: written, logged, hashed, sent, verified, served; and undone.

use serde_json::{Value, json};

use crate::harness::{Cluster, poll};
use crate::http::{self, Upstream};

fn ok(answer: &http::Answer) -> bool {
    answer.status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_served() {
    let upstream = Upstream::start("blue").await;
    let cluster = Cluster::start().await;
    cluster.route("a", "/a", &upstream).await;

    let answer = cluster.until("/a/b?c=d", ok).await;

    let seen = answer.json();
    assert_eq!(seen["request"], "GET /b?c=d HTTP/1.1");
    assert_eq!(seen["headers"]["host"], upstream.address.to_string());
    assert_eq!(seen["headers"]["x-forwarded-path"], "/a/b");
    assert_eq!(seen["headers"]["x-forwarded-prefix"], "/a");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-real-ip"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "http");
    assert_eq!(answer.header("via"), Some("1.1 kong/3.9.1"));
    let id = answer.header("x-kong-request-id").unwrap();
    assert_eq!((id.len(), &seen["headers"]["x-kong-request-id"]), (32, &json!(id)));
    assert!(answer.header("x-kong-upstream-latency").is_some());
    assert!(answer.header("x-kong-proxy-latency").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_and_no_upstream_have_kongs_answers() {
    let cluster = Cluster::start().await;
    cluster.put("/services/gone", json!({"url": "http://127.0.0.1:1"})).await;
    cluster.put("/routes/gone", json!({"paths": ["/gone"], "service": {"name": "gone"}})).await;

    let gone = cluster.until("/gone", |answer| answer.status == 502).await;
    assert!(gone.body.contains("An invalid response was received from the upstream server"));
    let none = http::get(cluster.proxy(), "/nowhere").await.unwrap();
    assert_eq!(
        (none.status, &none.json()["message"]),
        (404, &json!("no Route matched with those values"))
    );
    assert_eq!(none.header("server"), Some("kong/3.9.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_brings_the_old_upstream_back() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let cluster = Cluster::start().await;
    cluster.route("a", "/a", &blue).await;
    let writer = cluster.control.as_ref().unwrap().writer.clone();
    let before = writer.head().config_hash;
    cluster.route("a", "/a", &green).await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;

    let to = json!({"to": before.to_hex(), "reason": "green is ill"});
    let answer = cluster.call("POST", "/rollback", &to).await;

    assert!(answer.status < 300, "{}", answer.body);
    cluster.until("/a", |answer| answer.json()["name"] == "blue").await;
    let head = writer.head();
    assert_eq!((head.config_hash, head.seq.0), (before, 4), "history grows, it is never cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_serves_on_without_its_control_plane_and_resyncs() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = Cluster::start().await;
    cluster.route("a", "/a", &blue).await;
    cluster.until("/a", ok).await;

    cluster.stop_control().await;
    assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().status, 200);
    cluster.stop_data().await;
    cluster.start_data().await;
    assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().json()["name"], "blue");
    assert_eq!(http::get(cluster.status(), "/status/ready").await.unwrap().status, 200);

    cluster.start_control().await;
    cluster.route("a", "/a", &green).await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_data_plane_answers_404_and_is_not_ready() {
    let mut cluster = Cluster::without_data().await;
    cluster.stop_control().await;
    cluster.start_data().await;
    assert_eq!(http::get(cluster.proxy(), "/").await.unwrap().status, 404);
    let ready = http::get(cluster.status(), "/status/ready").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("no configuration available"), "{}", ready.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways() {
    let upstream = Upstream::start("big").await;
    let cluster = Cluster::start().await;
    cluster.route("a", "/a", &upstream).await;
    cluster.until("/a", ok).await;
    let body = "0123456789abcdef".repeat(1 << 16);

    let answer = http::send(cluster.proxy(), "POST", "/a", &[], &body).await.unwrap();

    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["body"].as_str().map(str::len), Some(body.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_auth_guards_a_route() {
    let upstream = Upstream::start("blue").await;
    let cluster = Cluster::start().await;
    cluster.route("a", "/a", &upstream).await;
    cluster.put("/consumers/alice", json!({"custom_id": "7"})).await;
    let key = cluster.call("POST", "/consumers/alice/key-auth", &json!({"key": "s3cret"})).await;
    assert_eq!(key.status, 201, "{}", key.body);
    let plugin = cluster.call("POST", "/routes/a/plugins", &json!({"name": "key-auth"})).await;
    assert_eq!(plugin.status, 201, "{}", plugin.body);
    cluster.converge().await;

    let denied = http::get(cluster.proxy(), "/a").await.unwrap();
    assert_eq!(
        (denied.status, &denied.json()["message"]),
        (401, &json!("No API key found in request"))
    );
    let wrong = http::send(cluster.proxy(), "GET", "/a", &[("apikey", "guess")], "").await.unwrap();
    assert_eq!(wrong.status, 401);
    let let_in =
        http::send(cluster.proxy(), "GET", "/a", &[("apikey", "s3cret")], "").await.unwrap();
    assert_eq!(let_in.status, 200, "{}", let_in.body);
    assert_eq!(let_in.json()["headers"]["x-consumer-username"], "alice");
    assert_eq!(let_in.json()["headers"]["x-consumer-custom-id"], "7");
    let by_query = http::get(cluster.proxy(), "/a?apikey=s3cret").await.unwrap();
    assert_eq!(by_query.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limiting_and_correlation_id_run_through_the_chain() {
    let upstream = Upstream::start("blue").await;
    let cluster = Cluster::start().await;
    cluster.route("a", "/a", &upstream).await;
    let limit = json!({"name": "rate-limiting", "config": {"hour": 2, "policy": "local"}});
    assert_eq!(cluster.call("POST", "/services/a/plugins", &limit).await.status, 201);
    let correlation = json!({
        "name": "correlation-id", "config": {"header_name": "X-Trace", "echo_downstream": true},
    });
    assert_eq!(cluster.call("POST", "/plugins", &correlation).await.status, 201);
    cluster.converge().await;

    let first = http::get(cluster.proxy(), "/a").await.unwrap();
    assert_eq!((first.status, first.header("ratelimit-remaining")), (200, Some("1")));
    let trace = first.header("x-trace").unwrap();
    assert_eq!(first.json()["headers"]["x-trace"], trace);
    // A change elsewhere swaps the runtime; the count goes on.
    cluster.put("/consumers/bob", json!({})).await;
    cluster.converge().await;
    assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().status, 200);
    let blocked = http::get(cluster.proxy(), "/a").await.unwrap();
    assert_eq!(
        (blocked.status, &blocked.json()["message"]),
        (429, &json!("API rate limit exceeded"))
    );
    assert!(blocked.header("retry-after").is_some());
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_share_an_upstreams_traffic() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let cluster = Cluster::start().await;
    cluster.put("/upstreams/pool.test", json!({})).await;
    for (peer, weight) in [(&blue, 100), (&green, 300)] {
        let target = json!({"target": peer.address.to_string(), "weight": weight});
        let answer = cluster.call("POST", "/upstreams/pool.test/targets", &target).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    cluster.put("/services/a", json!({"host": "pool.test"})).await;
    cluster.put("/routes/a", json!({"paths": ["/a"], "service": {"name": "a"}})).await;
    cluster.converge().await;
    for _ in 0..8 {
        assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().status, 200);
    }
    assert_eq!((blue.requests(), green.requests()), (2, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_tells_what_runs_where() {
    let cluster = Cluster::start().await;
    cluster.put("/consumers/alice", json!({})).await;
    cluster.converge().await;
    let wanted = cluster.control.as_ref().unwrap().writer.head().config_hash.to_hex();

    let row = poll(async || {
        let planes = cluster.call("GET", "/clustering/data-planes", &Value::Null).await.json();
        let row = planes["data"][0].clone();
        (row["config_hash"] == json!(wanted)).then_some(row)
    })
    .await
    .expect("the data plane reports what it applied");

    assert_eq!(row["ip"], "127.0.0.1");
    assert_eq!(row["version"], "3.9.1");
    assert_eq!(row["sync_status"], "normal");
    assert!(row["ttl"].as_i64().is_some_and(|ttl| ttl > 1_000_000), "{row}");
    assert!(row["last_seen"].as_i64().is_some_and(|at| at > 1_600_000_000), "{row}");
    for name in ["id", "hostname", "labels", "cert_details", "updated_at", "rpc_capabilities"] {
        assert!(row.get(name).is_some(), "{name} is missing: {row}");
    }
}
