//! Request bodies on their way: read ahead or passed on, too long, asked for; answers as they come
//! (reference gateway-3, sections C.5 and D.4).

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::Cluster;
use crate::http::{self, Upstream};

/// Reads until the text ends so, and returns all of it.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let length = stream.read_buf(&mut read).await.unwrap();
        assert!(length > 0, "ended in {:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn route(cluster: &Cluster, name: &str, upstream: SocketAddr, request_buffering: bool) {
    cluster.put(&format!("/services/{name}"), json!({"url": format!("http://{upstream}")})).await;
    let route = json!({
        "paths": [format!("/{name}")], "service": {"name": name},
        "request_buffering": request_buffering,
    });
    cluster.put(&format!("/routes/{name}"), route).await;
}

const CHUNKED: &str = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_before_the_upstream_hears_of_it_unless_the_route_streams() {
    let cluster = Cluster::start().await;
    let (read_ahead, address) = listen().await;
    route(&cluster, "a", address, true).await;
    let (passed_on, address) = listen().await;
    route(&cluster, "b", address, false).await;
    cluster.converge().await;

    let mut slow = TcpStream::connect(cluster.proxy()).await.unwrap();
    slow.write_all(format!("{CHUNKED}4\r\nfour\r\n").as_bytes()).await.unwrap();
    // Whoever comes later is there first.
    let mut quick = TcpStream::connect(cluster.proxy()).await.unwrap();
    quick.write_all(b"GET /a/quick HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (mut first, _) = read_ahead.accept().await.unwrap();
    assert!(until(&mut first, "\r\n\r\n").await.starts_with("GET /quick "));
    slow.write_all(b"4\r\nfive\r\n0\r\n\r\n").await.unwrap();
    let (mut second, _) = read_ahead.accept().await.unwrap();
    let request = until(&mut second, "fourfive").await;
    assert!(request.contains("\r\nContent-Length: 8\r\n"), "{request}");

    // Trailers have no place in a buffer.
    let mut client = TcpStream::connect(cluster.proxy()).await.unwrap();
    let head = CHUNKED.replace("Host", "Trailer: X-Sum\r\nHost");
    client.write_all(format!("{head}4\r\nfour\r\n0\r\nX-Sum: 7\r\n\r\n").as_bytes()).await.unwrap();
    let (mut upstream, _) = read_ahead.accept().await.unwrap();
    until(&mut upstream, "4\r\nfour\r\n0\r\nx-sum: 7\r\n\r\n").await;

    let mut slow = TcpStream::connect(cluster.proxy()).await.unwrap();
    let head = CHUNKED.replace("/a", "/b");
    slow.write_all(format!("{head}4\r\nfour\r\n").as_bytes()).await.unwrap();
    let (mut upstream, _) = passed_on.accept().await.unwrap();
    let request = until(&mut upstream, "4\r\nfour\r\n").await;
    assert!(request.contains("\r\nTransfer-Encoding: chunked\r\n"), "{request}");
    slow.write_all(b"0\r\n\r\n").await.unwrap();
    until(&mut upstream, "0\r\n\r\n").await;
    // And the answer comes as it is made.
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    upstream.write_all(format!("{head}3\r\none\r\n").as_bytes()).await.unwrap();
    until(&mut slow, "3\r\none\r\n").await;
    upstream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    until(&mut slow, "3\r\ntwo\r\n0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_is_refused_and_goes_nowhere_if_it_was_read_ahead() {
    let upstream = Upstream::start("up").await;
    let mut cluster = Cluster::without_data().await;
    let limit = ("KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZE", "100");
    cluster.start_data_in("dp", &[limit]).await;
    route(&cluster, "a", upstream.address, true).await;
    route(&cluster, "b", upstream.address, false).await;
    cluster.converge().await;

    for (path, head, length, status) in [
        ("/a", "Content-Length: 100", 100, 200),
        ("/a", "Content-Length: 101", 101, 413),
        ("/a", "Transfer-Encoding: chunked", 101, 413),
        ("/b", "Transfer-Encoding: chunked", 101, 413),
    ] {
        let before = upstream.requests();
        let mut client = TcpStream::connect(cluster.proxy()).await.unwrap();
        let body = "x".repeat(length);
        let body = match head.starts_with('T') {
            true => format!("{length:x}\r\n{body}\r\n0\r\n\r\n"),
            false => body,
        };
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n\r\n{body}");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {head}: {answer}");
        assert_eq!(upstream.requests() > before, status == 200, "{path} {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked_when_someone_wants_it() {
    let upstream = Upstream::start("up").await;
    let cluster = Cluster::start().await;
    for (name, buffered) in [("a", true), ("b", false)] {
        route(&cluster, name, upstream.address, buffered).await;
    }
    cluster.converge().await;
    for path in ["/a", "/b"] {
        let mut client = TcpStream::connect(cluster.proxy()).await.unwrap();
        let head = "HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4";
        client.write_all(format!("POST {path} {head}\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"body").await.unwrap();
        let answer = until(&mut client, "}").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(r#""body":"body""#) && !answer.contains("expect"), "{answer}");
    }
    let expecting = [("Expect", "100-continue")];
    let none = http::send(cluster.proxy(), "POST", "/none", &expecting, "body").await.unwrap();
    assert_eq!(none.status, 404);
}
