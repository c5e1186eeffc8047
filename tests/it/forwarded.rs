//! Headers on their way through a data plane (reference gateway-3, sections D.1 and D.2), and whom
//! it takes for the client.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::edge::Edge;
use crate::harness::Cluster;
use crate::http;
use crate::websocket::head;

/// Headers of a request, and what reaches the upstream; `-` is nothing.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

async fn holds(edge: &Edge, path: &str, rows: &[Row<'_>]) {
    for (sent, expected) in rows {
        let answer = edge.get(path, sent).await;
        assert_eq!(answer.status, 200, "{sent:?}: {}", answer.body);
        for (name, value) in *expected {
            let got = &answer.json()["headers"][*name];
            assert_eq!(got.as_str().unwrap_or("-"), *value, "{name} of {sent:?}");
        }
    }
}

#[tokio::test]
async fn a_stranger_is_not_believed() {
    let edge = Edge::start(&[("KONG_PORT_MAPS", "")], json!({})).await;
    let (port, authority) = (edge.address(0).port().to_string(), edge.upstream.address.to_string());
    let own: &[(&str, &str)] = &[
        ("host", &authority),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "h.test"),
        ("x-forwarded-port", &port),
        ("x-forwarded-path", "/r/a"),
        ("x-forwarded-prefix", "/r"),
        ("via", "1.1 kong/3.9.1"),
        ("connection", "keep-alive"),
    ];
    let forged = [
        ("Host", "h.test:81"),
        ("X-Real-IP", "1.1.1.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Path", "/evil"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Kong-Request-Id", "mine"),
    ];
    holds(&edge, "/r/a?q", &[(&[("Host", "h.test")], own), (&forged, own)]).await;
    let answer = edge.get("/r", &forged).await;
    let id = answer.json()["headers"]["x-kong-request-id"].clone();
    assert_eq!(id.as_str().unwrap().len(), 32);
    assert_eq!(answer.header("x-kong-request-id"), id.as_str());
    let rows: [Row<'_>; 7] = [
        (&[("X-Forwarded-For", "1.1.1.1")], &[("x-forwarded-for", "1.1.1.1, 127.0.0.1")]),
        (&[("Via", "1.0 inner")], &[("via", "1.0 inner, 1.1 kong/3.9.1")]),
        (
            &[("Connection", "close, X-Hop"), ("X-Hop", "1"), ("X-Stays", "1")],
            &[("x-hop", "-"), ("x-stays", "1"), ("connection", "keep-alive")],
        ),
        (
            &[
                ("Proxy", "p"),
                ("Proxy-Connection", "close"),
                ("Keep-Alive", "timeout=1"),
                ("Upgrade", "h2c"),
                ("Proxy-Authorization", "Basic YTpi"),
            ],
            &[
                ("proxy", "-"),
                ("proxy-connection", "-"),
                ("keep-alive", "-"),
                ("upgrade", "-"),
                ("proxy-authorization", "Basic YTpi"),
            ],
        ),
        (&[("TE", "trailers"), ("Trailer", "X-Sum")], &[("te", "trailers"), ("trailer", "X-Sum")]),
        (&[("TE", "gzip")], &[("te", "-")]),
        (&[("X-Consumer-Username", "u")], &[("x-consumer-username", "u")]),
    ];
    holds(&edge, "/r", &rows).await;
}

#[tokio::test]
async fn a_trusted_peer_is_believed() {
    let trust = [
        ("KONG_TRUSTED_IPS", "127.0.0.0/8,10.0.0.0/8"),
        ("KONG_REAL_IP_HEADER", "X-Forwarded-For"),
        ("KONG_HEADERS_UPSTREAM", "off"),
    ];
    let edge = Edge::start(&trust, json!({})).await;
    let rows: [Row<'_>; 5] = [
        (
            &[
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "outer.test"),
                ("X-Forwarded-Port", "444"),
                ("X-Forwarded-Path", "/outer"),
                ("X-Forwarded-Prefix", "/prefix"),
            ],
            &[
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "outer.test"),
                ("x-forwarded-port", "444"),
                ("x-forwarded-path", "/outer"),
                ("x-forwarded-prefix", "/prefix"),
                ("x-real-ip", "127.0.0.1"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-kong-request-id", "-"),
            ],
        ),
        (
            &[("X-Forwarded-For", "1.1.1.1, 10.0.0.1")],
            &[("x-real-ip", "10.0.0.1"), ("x-forwarded-for", "1.1.1.1, 10.0.0.1, 127.0.0.1")],
        ),
        (&[("X-Forwarded-For", "[2001:db8::1]:443")], &[("x-real-ip", "2001:db8::1")]),
        (&[("X-Forwarded-For", "1.1.1.1, unknown")], &[("x-real-ip", "127.0.0.1")]),
        (&[("X-Real-IP", "9.9.9.9")], &[("x-real-ip", "127.0.0.1")]),
    ];
    holds(&edge, "/r", &rows).await;

    let recursive = [&trust[..2], &[("KONG_REAL_IP_RECURSIVE", "on")]].concat();
    let edge = Edge::start(&recursive, json!({})).await;
    let rows: [Row<'_>; 4] = [
        (&[("X-Forwarded-For", "9.9.9.9, 1.1.1.1, 10.0.0.1")], &[("x-real-ip", "1.1.1.1")]),
        (&[("X-Forwarded-For", "10.0.0.2, 10.0.0.1")], &[("x-real-ip", "10.0.0.2")]),
        (&[("X-Forwarded-For", "1.1.1.1, ?, 10.0.0.1")], &[("x-real-ip", "10.0.0.1")]),
        (
            &[("X-Forwarded-For", "9.9.9.9"), ("X-Forwarded-For", "8.8.8.8:1,10.0.0.1")],
            &[("x-real-ip", "8.8.8.8")],
        ),
    ];
    holds(&edge, "/r", &rows).await;
}

/// Sends bytes and reads until the end.
async fn talk(edge: &Edge, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(edge.address(0)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is closed with bytes unread ends in an error.
    let _ended = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_balancer_tells_the_client_by_the_proxy_protocol() {
    let request = b"GET /r HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.9 4000 443\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc6\x33\x64\x09\x0f\xa0\x01\xbb";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let listen = ("KONG_PROXY_LISTEN", "127.0.0.1:0 proxy_protocol");
    let header = ("KONG_REAL_IP_HEADER", "proxy_protocol");
    let trust = ("KONG_TRUSTED_IPS", "127.0.0.1");
    let trusting = Edge::start(&[listen, header, trust], json!({})).await;
    let wary = Edge::start(&[listen, header], json!({})).await;
    for (start, client) in
        [(&v1[..], "192.0.2.7"), (&v2[..], "192.0.2.8"), (&local[..], "127.0.0.1")]
    {
        let bytes = [start, request].concat();
        let answer = talk(&trusting, &bytes).await;
        assert!(answer.contains(&format!("\"x-real-ip\":\"{client}\"")), "{answer}");
        let answer = talk(&wary, &bytes).await;
        assert!(answer.contains("\"x-real-ip\":\"127.0.0.1\""), "{answer}");
    }
    assert_eq!(talk(&trusting, request).await, "", "what does not begin so is closed");
}

#[tokio::test]
async fn answers_tell_what_the_settings_ask_for() {
    let all = Edge::start(&[], json!({})).await;
    let proxied = all.get("/r", &[]).await;
    for (name, value) in [("via", "1.1 kong/3.9.1"), ("server", "kong/3.9.1")] {
        assert_eq!(proxied.header(name), Some(value), "{name}");
    }
    for name in ["x-kong-upstream-latency", "x-kong-proxy-latency", "x-kong-request-id"] {
        assert!(proxied.header(name).is_some(), "{name}");
    }
    for name in ["x-kong-response-latency", "x-kong-upstream-status", "x-config-hash"] {
        assert_eq!(proxied.header(name), None, "{name}");
    }
    let own = all.get("/none", &[]).await;
    assert_eq!(own.status, 404);
    assert_eq!(own.header("server"), Some("kong/3.9.1"));
    assert!(own.header("x-kong-response-latency").is_some());
    for name in ["via", "x-kong-upstream-latency", "x-kong-proxy-latency"] {
        assert_eq!(own.header(name), None, "{name}");
    }

    let chosen = "X-Kong-Upstream-Status, X-Config-Hash, via";
    let some = Edge::start(&[("KONG_HEADERS", chosen)], json!({})).await;
    let proxied = some.get("/r", &[]).await;
    assert_eq!(proxied.header("x-kong-upstream-status"), Some("200"));
    assert_eq!(proxied.header("x-config-hash").map(str::len), Some(64));
    assert_eq!(proxied.header("via"), Some("1.1 kong/3.9.1"));
    for name in ["server", "x-kong-request-id", "x-kong-proxy-latency"] {
        assert_eq!(proxied.header(name), None, "{name}");
    }
    let own = http::get(some.address(0), "/none").await.unwrap();
    assert_eq!(own.header("x-config-hash"), proxied.header("x-config-hash"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_written_with_kongs_capitals() {
    let cluster = Cluster::start().await;
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    cluster.put("/services/s", json!({"url": url})).await;
    cluster.put("/services/s/routes/plain", json!({"paths": ["/plain"]})).await;
    cluster.put("/services/s/routes/seen", json!({"paths": ["/seen"]})).await;
    // It looks at the headers of answers.
    let config = json!({"header_name": "X-Own-Id", "echo_downstream": true});
    let plugin = json!({"name": "correlation-id", "config": config});
    assert_eq!(cluster.call("POST", "/routes/seen/plugins", &plugin).await.status, 201);
    cluster.converge().await;

    for (path, reason, own) in [
        ("/plain", "OK", "X-miXed: 1"),
        ("/plain", "Quite fine", "X-Mixed: 1"),
        ("/seen", "OK", "X-Mixed: 1"),
        ("/seen", "Quite fine", "X-Mixed: 1"),
    ] {
        let mut client = TcpStream::connect(cluster.proxy()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-my-own: 1\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let (mut server, _) = upstream.accept().await.unwrap();
        let (asked, _) = head(&mut server).await;
        for name in ["Host", "X-My-Own", "X-Forwarded-For", "X-Real-IP", "X-Kong-Request-Id", "Via"]
        {
            assert!(asked.contains(&format!("\r\n{name}: ")), "{name}: {asked}");
        }
        let answer = format!("HTTP/1.1 200 {reason}\r\nX-miXed: 1\r\ncontent-length: 2\r\n\r\nok");
        server.write_all(answer.as_bytes()).await.unwrap();
        let (answered, _) = head(&mut client).await;
        let latencies = ["X-Kong-Upstream-Latency", "X-Kong-Proxy-Latency", "X-Kong-Request-Id"];
        for name in ["Via", "Content-Length", "Date"].iter().chain(&latencies) {
            assert!(answered.contains(&format!("\r\n{name}: ")), "{name}: {answered}");
        }
        assert!(answered.contains(own), "{answered}");
        assert!(answered.starts_with(&format!("HTTP/1.1 200 {reason}\r\n")), "{answered}");
    }
}
