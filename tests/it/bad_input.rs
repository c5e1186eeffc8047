//! Bad input from every side: each gets a clear error, nothing is lost, nobody dies.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Cluster, poll};
use crate::http::{self, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_says_what_is_wrong_and_writes_nothing() {
    let cluster = Cluster::without_data().await;
    cluster.put("/services/a", json!({"host": "a.test"})).await;
    let head = cluster.control.as_ref().unwrap().writer.head();
    let json = [("Content-Type", "application/json")];

    let malformed = http::send(cluster.admin(), "POST", "/services", &json, "{\"host\":").await;
    let malformed = malformed.unwrap();
    assert_eq!(
        (malformed.status, &malformed.json()["message"]),
        (400, &json!("Cannot parse JSON body"))
    );
    for (path, body, status, code) in [
        ("/services", json!({"host": "a", "nope": 1}), 400, 2),
        (
            "/routes",
            json!({"paths": ["/"], "service": {"id": "6f6e1f6e-0000-4000-8000-000000000000"}}),
            400,
            4,
        ),
        ("/routes", json!({"paths": ["/"], "service": {"name": "nobody"}}), 400, 13),
        ("/services", json!({"host": "a", "name": "a"}), 409, 5),
        ("/plugins", json!({"name": "nope"}), 400, 2),
        ("/routes", json!({"paths": ["~/("]}), 400, 2),
    ] {
        let answer = cluster.call("POST", path, &body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code)),
            "{}",
            answer.body
        );
    }
    let huge = json!({"host": "a", "name": "x".repeat(11 << 20)}).to_string();
    let answer = http::send(cluster.admin(), "POST", "/services", &json, &huge).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 413));

    let after = cluster.control.as_ref().unwrap().writer.head();
    assert_eq!(after.seq, head.seq, "nothing was written");
    assert_eq!(cluster.call("GET", "/services/a", &Value::Null).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_cluster_port_disturbs_nobody() {
    let upstream = Upstream::start("blue").await;
    let cluster = Cluster::start().await;
    let port = cluster.control.as_ref().unwrap().cluster[0];
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 0, 1], &[0; 4096]] {
        let mut stream = TcpStream::connect(port).await.unwrap();
        // The other side may close before it has read everything.
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut rest));
        assert!(read.await.is_ok(), "the connection is closed");
    }
    cluster.route("a", "/a", &upstream).await;
    cluster.until("/a", |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_with_another_certificate_gets_nothing() {
    let upstream = Upstream::start("blue").await;
    let mut cluster = Cluster::start().await;
    cluster.route("a", "/a", &upstream).await;
    cluster.until("/a", |answer| answer.status == 200).await;
    let pair = cluster.directory.pair("stranger");
    let good = cluster.data.take().unwrap();
    let more = [("KONG_CLUSTER_CERT", pair.0.as_str()), ("KONG_CLUSTER_CERT_KEY", pair.1.as_str())];
    cluster.start_data_in("stranger", &more).await;

    let stranger = cluster.data.as_ref().unwrap();
    let failed = poll(async || stranger.last_link_error()).await;
    let failed = failed.expect("the link fails and says why");
    assert!(failed.contains("is neither cluster_cert nor in cluster_trusted_cert"), "{failed}");
    assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().status, 404);
    let planes = cluster.call("GET", "/clustering/data-planes", &Value::Null).await.json();
    assert_eq!(planes["data"].as_array().map(Vec::len), Some(1), "{planes}");
    good.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_framings_is_refused() {
    let upstream = Upstream::start("blue").await;
    let cluster = Cluster::start().await;
    cluster.route("a", "/a", &upstream).await;
    cluster.until("/a", |answer| answer.status == 200).await;
    let before = upstream.requests();
    let headers = [("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
    let answer = http::send(cluster.proxy(), "POST", "/a", &headers, "").await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 400));
    assert_eq!(upstream.requests(), before);
}
