//! What a probe sends, and what it makes of the answers of real sockets.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::balancer::Balancer;
use crate::balancer::tests::{target, upstream};

/// Returns the balancer of an upstream with these active checks, and its one address.
fn probed(active: Value, text: &str) -> (Balancer, Arc<Address>) {
    let mut active = active;
    active["healthy"] = json!({"interval": 1});
    let upstream = upstream(json!({"healthchecks": {"active": active}, "host_header": null}));
    let balancer = Balancer::build(&upstream, &[target(text, 1)], None);
    let address = balancer.addresses()[0].address.clone();
    (balancer, address)
}

async fn run_at(active: Value, listener: &TcpListener) -> Outcome {
    let (balancer, address) = probed(active, &listener.local_addr().unwrap().to_string());
    run(balancer.checks.probe.as_ref().unwrap(), None, &address).await
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Answers one connection with these bytes, and returns what was asked.
async fn answer(listener: &TcpListener, bytes: &[u8]) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
    }
    stream.write_all(bytes).await.unwrap();
    String::from_utf8(asked).unwrap()
}

#[test]
fn the_request_is_kongs() {
    let sent = |active, text| {
        let (balancer, address) = probed(active, text);
        let probe = balancer.checks.probe.clone().unwrap();
        String::from_utf8(request(&probe, &address)).unwrap()
    };
    let plain = "GET / HTTP/1.0\r\nHost: 10.0.0.1\r\n\r\n";
    assert_eq!(sent(json!({}), "10.0.0.1:80"), plain);
    let plain = "GET / HTTP/1.0\r\nHost: [::1]\r\n\r\n";
    assert_eq!(sent(json!({}), "[::1]:80"), plain);
    let active = json!({"http_path": "/up?a=1", "headers": {"x-a": ["1", "2"]}});
    let with_headers = "GET /up?a=1 HTTP/1.0\r\nx-a: 1\r\nx-a: 2\r\nHost: 10.0.0.1\r\n\r\n";
    assert_eq!(sent(active, "10.0.0.1:80"), with_headers);
    let active = json!({"headers": {"Host": ["own.test"]}});
    assert_eq!(sent(active, "10.0.0.1:80"), "GET / HTTP/1.0\r\nhost: own.test\r\n\r\n");
}

#[test]
fn status_lines_are_read_and_nothing_else() {
    for (line, wanted) in [
        ("HTTP/1.1 200 OK\r\n", Some(200)),
        ("HTTP/1.0 503\n", Some(503)),
        ("HTTP/2.0 204 \r\n", Some(204)),
        ("HTTP/1.1 20 OK\r\n", None),
        ("HTTP/1.1 OK\r\n", None),
        ("HTTP/x.1 200\r\n", None),
        ("SSH-2.0-x\r\n", None),
        ("\r\n", None),
    ] {
        assert_eq!(status(line.as_bytes()).map(|status| status.as_u16()), wanted, "{line:?}");
    }
}

#[tokio::test]
async fn answers_are_told_apart() {
    let listener = listen().await;
    for (bytes, wanted) in [
        (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], Outcome::Status(http::StatusCode::NO_CONTENT)),
        (b"hello\r\n", Outcome::Unwell),
        (b"", Outcome::Failed),
        (&[b'x'; 2 * LINE_BYTES_MAX], Outcome::Unwell),
    ] {
        let (outcome, _) = tokio::join!(run_at(json!({}), &listener), answer(&listener, bytes));
        assert_eq!(outcome, wanted);
    }
    assert_eq!(run_at(json!({"type": "tcp"}), &listener).await, Outcome::Succeeded);
}

#[tokio::test]
async fn who_is_silent_times_out_and_who_is_gone_fails() {
    let listener = listen().await;
    let silent = json!({"timeout": 0.05});
    assert_eq!(run_at(silent.clone(), &listener).await, Outcome::TimedOut);
    let (balancer, address) = probed(silent, &listener.local_addr().unwrap().to_string());
    drop(listener);
    let probe = balancer.checks.probe.as_ref().unwrap();
    assert_eq!(probe.timeout, Duration::from_millis(50));
    assert_eq!(run(probe, None, &address).await, Outcome::Failed);
}

/// Serves one call of gRPC with these bytes.
async fn grpc(listener: &TcpListener, status: u16, bytes: &'static [u8]) -> http::request::Parts {
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    let response = http::Response::builder().status(status).body(()).unwrap();
    let mut body = respond.send_response(response, false).unwrap();
    body.send_data(bytes.into(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    body.send_trailers(trailers).unwrap();
    // Sends what is left, until the client has gone.
    while connection.accept().await.is_some_and(|it| it.is_ok()) {}
    request.into_parts().0
}

#[tokio::test]
async fn grpc_asks_the_health_service() {
    let listener = listen().await;
    for (status, bytes, wanted) in [
        (200, &[0, 0, 0, 0, 2, 8, 1][..], Outcome::Succeeded),
        (200, &[0, 0, 0, 0, 2, 8, 2], Outcome::Unwell),
        (200, &[], Outcome::Unwell),
        (200, &[1; 100], Outcome::Unwell),
        (503, &[], Outcome::Status(http::StatusCode::SERVICE_UNAVAILABLE)),
    ] {
        let asking = run_at(json!({"type": "grpc", "headers": {"x-a": ["1"]}}), &listener);
        let (outcome, asked) = tokio::join!(asking, grpc(&listener, status, bytes));
        assert_eq!(outcome, wanted);
        assert_eq!(asked.uri.path(), "/grpc.health.v1.Health/Check");
        assert_eq!(
            (&asked.headers["content-type"], &asked.headers["x-a"]),
            (
                &http::HeaderValue::from_static("application/grpc"),
                &http::HeaderValue::from_static("1"),
            )
        );
    }
}
