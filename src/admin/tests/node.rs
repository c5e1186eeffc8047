//! What the node tells of itself, cross-origin access, and the status API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::app::{App, metrics_source};
use crate::admin::Options;
use crate::admin::status::{StatusSource, Unready, respond};
use crate::clock::Clock;
use crate::fleet::{DataPlaneRow, Dialect};
use crate::telemetry::counter::Snapshot;

#[tokio::test]
async fn common_headers_are_on_every_answer() {
    let app = App::start().await;
    for path in ["/services", "/nope"] {
        let answer = app.get(path).await;
        assert_eq!(answer.header("server"), "kong/3.9.1");
        assert!(answer.header("x-kong-admin-latency").parse::<u64>().is_ok());
        assert_eq!(answer.header("x-request-id").len(), 32);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
    }
    let origin = [("origin", "http://ui"), ("x-request-id", "mine")];
    let answer = app.send_raw("GET", "/nope", &origin, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "http://ui");
    assert_eq!(answer.header("x-request-id"), "mine");
}

#[tokio::test]
async fn preflights_are_answered_per_place() {
    let gui_origins = vec!["http://a".to_owned(), "http://b".to_owned()];
    let app = App::with(Options { gui_origins, ..Options::default() }).await;
    let asked = [("origin", "http://b"), ("access-control-request-headers", "content-type")];
    for (path, methods) in [
        ("/services", "GET, HEAD, OPTIONS, POST"),
        ("/services/x/routes", "GET, HEAD, OPTIONS, POST"),
        ("/services/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/status", "GET, HEAD, OPTIONS"),
    ] {
        let answer = app.send_raw("OPTIONS", path, &asked, "").await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("allow"), methods);
        assert_eq!(answer.header("access-control-allow-methods"), methods);
        assert_eq!(answer.header("access-control-allow-headers"), "content-type");
        assert_eq!(answer.header("access-control-allow-origin"), "http://b");
    }
    let stranger = app.send_raw("GET", "/services", &[("origin", "http://c")], "").await;
    assert_eq!(stranger.header("access-control-allow-origin"), "http://a");
}

#[tokio::test]
async fn the_root_tells_both_versions() {
    let app = App::start().await;
    let root = app.get("/").await.json();
    assert_eq!(root["version"], "3.9.1");
    assert_eq!(root["hybridctl_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(root["tagline"], "Welcome to kong");
    assert_eq!(root["configuration"]["role"], "control_plane");
    assert_eq!(root["plugins"], json!({"available_on_server": {}, "enabled_in_cluster": []}));
    assert_eq!(app.get("/plugins/enabled").await.json(), json!({"enabled_plugins": []}));
    assert_eq!(app.get("/robots.txt").await.text, "User-agent: *\nDisallow: /");
}

#[tokio::test]
async fn data_planes_are_listed_in_pages() {
    let app = App::start().await;
    let now = Clock::System.now();
    for i in 1..=3 {
        app.fleet.record(DataPlaneRow {
            id: uuid::Uuid::from_u128(i),
            ip: [127, 0, 0, 1].into(),
            hostname: "dp".into(),
            version: Some("3.9.1".into()),
            last_seen: now,
            ttl_seconds: 600,
            config_hash: "0".repeat(32),
            sync_status: "normal",
            updated_at: now,
            labels: BTreeMap::new(),
            cert_expires_at: Some(5),
            applied_hash: None,
            applied_seq: None,
            rejected: None,
            refused: None,
            connected: true,
            lag_ms: None,
            dialect: Dialect::Native,
            control_plane: None,
        });
    }
    let page = app.get("/clustering/data-planes?size=2").await.json();
    assert_eq!(page["data"][0]["cert_details"], json!({"expiry_timestamp": 5}));
    assert_eq!(page["data"][0]["labels"], Value::Null);
    assert!(page["data"][0]["ttl"].as_u64().is_some_and(|ttl| (590..=600).contains(&ttl)));
    let next = page["next"].as_str().unwrap();
    assert!(next.starts_with("/clustering/data-planes?offset=") && next.ends_with("&size=2"));
    assert_eq!(app.get(next).await.json()["data"].as_array().unwrap().len(), 1);
    let status = app.get("/clustering/status").await;
    assert_eq!(status.header("deprecation"), "true");
    assert_eq!(status.json().as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn memory_is_shown_in_the_unit_asked_for() {
    let app = App::start().await;
    let memory =
        |answer: Value| answer["memory"]["workers_lua_vms"][0]["http_allocated_gc"].clone();
    let status = app.get("/status").await.json();
    assert_eq!(status["server"]["total_requests"], 7);
    assert_eq!(status["database"], json!({"reachable": true}));
    assert_eq!(memory(status), "3.00 MiB");
    assert_eq!(memory(app.get("/status?unit=k&scale=0").await.json()), "3072 KiB");
    assert_eq!(memory(app.get("/status?unit=b").await.json()), 3 << 20);
    for (query, message) in [
        ("unit=x", "invalid unit 'x' (expected 'k/K', 'm/M', or 'g/G')"),
        ("scale=-1", "scale must be equal or greater than 0"),
    ] {
        let answer = app.get(&format!("/status?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (400, json!({"message": message})));
    }
}

fn data_plane(ready: Result<(), Unready>) -> Arc<StatusSource> {
    Arc::new(StatusSource {
        counters: Box::new(Snapshot::default),
        memory_bytes: Box::new(|| 0),
        configuration_hash: Some(Box::new(|| "abc".into())),
        database_reachable: None,
        readiness: Box::new(move || ready),
        metrics: metrics_source(),
        draining: AtomicBool::new(false),
    })
}

async fn ask(source: &Arc<StatusSource>, method: &str, path: &str, body: &str) -> (u16, Value) {
    use http_body_util::BodyExt as _;
    let request = axum::extract::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.to_owned().into())
        .unwrap();
    let response = respond(source, request, "id".into()).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_node_is_ready_until_it_is_drained() {
    let source = data_plane(Ok(()));
    let message = |text: &str| json!({"message": text});
    assert_eq!(ask(&source, "GET", "/status/ready/", "").await, (200, message("ready")));
    let hash = ask(&source, "GET", "/status", "").await.1;
    assert_eq!((&hash["configuration_hash"], hash.get("database")), (&json!("abc"), None));
    assert_eq!(ask(&source, "POST", "/status/ready", r#"{"status":"x"}"#).await.0, 400);
    assert_eq!(ask(&source, "POST", "/status", "{}").await, (405, message("Method not allowed")));
    assert_eq!(ask(&source, "GET", "/services", "").await, (404, message("Not found")));
    let draining = r#"{"status":"draining"}"#;
    assert_eq!(ask(&source, "POST", "/status/ready", draining).await, (204, Value::Null));
    assert_eq!(ask(&source, "GET", "/status/ready", "").await, (503, message("draining")));
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_why() {
    for (unready, text) in [
        (Unready::Database, "failed to connect to database"),
        (
            Unready::Router { ready: 1, workers: 2 },
            "router builds not yet complete, router ready in 1 of 2 workers",
        ),
        (
            Unready::NoConfiguration,
            "no configuration available (configuration hash is not initialized)",
        ),
        (Unready::EmptyConfiguration, "no configuration available (empty configuration present)"),
    ] {
        let source = data_plane(Err(unready));
        let answer = ask(&source, "GET", "/status/ready", "").await;
        assert_eq!(answer, (503, json!({"message": text})));
    }
}

/// HTTP/2 sends whatever body an answer has, so it must be gone before.
#[tokio::test]
async fn head_answers_with_the_length_alone() {
    let app = App::start().await;
    let (get, head) = (app.get("/").await, app.send("HEAD", "/", Value::Null).await);
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-type"), get.header("content-type"));
    assert_eq!(head.header("content-length"), get.text.len().to_string());
}
