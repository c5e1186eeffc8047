//! What stands on the log, over real sockets: batches reach data planes whole, followers see them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::Cluster;
use crate::http::{self, Upstream};

/// A connection that follows the events.
struct Follower {
    stream: TcpStream,
    text: String,
}

impl Follower {
    async fn start(cluster: &Cluster) -> Self {
        let mut stream = TcpStream::connect(cluster.admin()).await.unwrap();
        let request = b"GET /events?follow HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut follower = Self { stream, text: String::new() };
        follower.until(": events after ").await;
        follower
    }

    /// Reads until a text came.
    async fn until(&mut self, wanted: &str) {
        while !self.text.contains(wanted) {
            assert!(self.read().await > 0, "no {wanted:?} in {:?}", self.text);
        }
    }

    async fn read(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        let len = read.expect("the stream goes on or ends").unwrap();
        self.text.push_str(&String::from_utf8_lossy(&bytes[..len]));
        len
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_followed_served_and_taken_back() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = Cluster::start().await;
    let mut follower = Follower::start(&cluster).await;
    let url = |upstream: &Upstream| format!("http://{}", upstream.address);
    let batch = json!([
        {"method": "PUT", "path": "/services/a", "body": {"url": url(&blue)}},
        {"method": "POST", "path": "/services/a/routes", "body": {"name": "a", "paths": ["/a"]}},
    ]);

    let done = cluster.call("POST", "/batch", &batch).await;

    assert_eq!((done.status, &done.json()["seq"]), (200, &json!(1)), "{}", done.body);
    follower.until("id: 1\n").await;
    cluster.until("/a", |answer| answer.json()["name"] == "blue").await;

    // The names of two services are swapped: no order of single changes would be valid.
    cluster.put("/services/b", json!({"url": url(&green)})).await;
    let before = cluster.call("GET", "/services", &Value::Null).await;
    let swap = json!([
        {"method": "PATCH", "path": "/services/a", "body": {"name": "c"}},
        {"method": "PATCH", "path": "/services/b", "body": {"name": "a"}},
        {"method": "PATCH", "path": "/services/c", "body": {"name": "b"}},
        {"method": "PATCH", "path": "/routes/a", "body": {"service": {"name": "a"}}},
    ]);
    let swapped = cluster.call("POST", "/batch", &swap).await;
    assert_eq!((swapped.status, &swapped.json()["seq"]), (200, &json!(3)), "{}", swapped.body);
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
    follower.until("id: 3\n").await;

    // Whoever still speaks of the config before is told so.
    let stale =
        [("Content-Type", "application/json"), ("If-Match", before.header("etag").unwrap())];
    let answer = http::send(cluster.admin(), "POST", "/rollback", &stale, r#"{"to": 1}"#).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.header("etag")), (412, swapped.header("etag")));

    let back = json!({"to": 2});
    let tried = cluster.call("POST", "/rollback?dry_run=1", &back).await.json();
    assert_eq!((&tried["changes_total"], &tried["seq"]), (&json!(3), &json!(3)));
    let done = cluster.call("POST", "/rollback", &back).await.json();
    assert_eq!((&done["config_hash"], &done["seq"]), (&tried["config_hash"], &json!(4)));
    cluster.until("/a", |answer| answer.json()["name"] == "blue").await;
    cluster.converge().await;

    // A follower does not keep the control plane from stopping.
    cluster.stop_control().await;
    while follower.read().await > 0 {}
    assert!(follower.text.contains("id: 4\n"));
}
