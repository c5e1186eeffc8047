//! The access log of a data plane, in each of its forms, and error texts of the operator's own.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::edge::Edge;
use crate::harness::{PATIENCE, own_address};
use crate::http;

/// Returns the lines that two requests leave: one that is proxied and one that matches no route.
async fn lines(format: &str) -> (Vec<String>, u16) {
    let log = format!("access.log {format}");
    let settings = [
        ("KONG_PROXY_ACCESS_LOG", log.as_str()),
        ("KONG_TRUSTED_IPS", "127.0.0.1"),
        ("KONG_REAL_IP_HEADER", "X-Forwarded-For"),
    ];
    let edge = Edge::start(&settings, json!({})).await;
    let port = edge.address(0).port();
    let sent = [
        ("X-Forwarded-For", "192.0.2.7"),
        ("User-Agent", "a \"b\" \\ c"),
        ("Referer", "http://r.test/"),
        ("Authorization", "Basic c2VjcmV0LWtleTo="),
    ];
    assert_eq!(edge.get("/r/a?x=1", &sent).await.status, 200);
    assert_eq!(edge.get("/none", &[]).await.status, 404);
    let directory = edge.stop().await;
    let text = std::fs::read_to_string(directory.path().join("dp/access.log")).unwrap();
    assert!(!text.contains("secret"), "{text}");
    (text.lines().map(str::to_owned).collect(), port)
}

#[tokio::test]
async fn lines_are_nginxs_with_request_id_and_config_hash() {
    for format in ["", "kong_log_format", "combined"] {
        let (lines, _) = lines(format).await;
        let [proxied, missed] = &lines[..] else { panic!("{lines:?}") };
        let (start, rest) = proxied.split_once(" [").unwrap();
        assert_eq!(start, "192.0.2.7 - -");
        let (time, rest) = rest.split_once("] ").unwrap();
        assert!(chrono::DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").is_ok(), "{time}");
        let request = "\"GET /r/a?x=1 HTTP/1.1\" 200 ";
        assert!(rest.starts_with(request), "{rest}");
        let agent = "\"http://r.test/\" \"a \\x22b\\x22 \\x5C c\"";
        let (size, ids) = rest[request.len()..].split_once(agent).unwrap();
        assert!(size.trim().parse::<u64>().unwrap() > 100, "{rest}");
        if format == "combined" {
            assert_eq!(ids, "");
            continue;
        }
        let (id, hash) = ids.split_once(" config_hash: ").unwrap();
        let id = id.strip_prefix(" kong_request_id: \"").unwrap().strip_suffix('"').unwrap();
        assert_eq!((id.len(), hash.len()), (32, 14), "{ids}");
        assert!(missed.contains("\"GET /none HTTP/1.1\" 404 "), "{missed}");
        assert!(missed.contains(" \"-\" \"-\" kong_request_id: "), "{missed}");
        assert!(missed.ends_with(hash), "{missed}");
    }
}

#[tokio::test]
async fn json_lines_name_route_and_service() {
    let (lines, port) = lines("json").await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [proxied, missed] = &lines[..] else { panic!("{lines:?}") };
    for (name, value) in [
        ("remote_addr", json!("192.0.2.7")),
        ("request_method", json!("GET")),
        ("host", json!(format!("127.0.0.1:{port}"))),
        ("request_uri", json!("/r/a?x=1")),
        ("http_user_agent", json!("a \"b\" \\ c")),
        ("http_referer", json!("http://r.test/")),
        ("server_protocol", json!("HTTP/1.1")),
        ("status", json!(200)),
    ] {
        assert_eq!(proxied[name], value, "{name}");
    }
    for name in ["time", "route_id", "service_id", "kong_request_id"] {
        assert!(proxied[name].is_string(), "{name}: {proxied}");
    }
    for name in ["body_bytes_sent", "request_time_ms", "upstream_latency_ms"] {
        assert!(proxied[name].is_u64(), "{name}: {proxied}");
    }
    assert_eq!(proxied["config_hash"].as_str().map(str::len), Some(64));
    assert_eq!((&missed["status"], &missed["route_id"]), (&json!(404), &Value::Null));
    assert_eq!(missed["config_hash"], proxied["config_hash"]);
}

#[tokio::test]
async fn errors_have_the_operators_words_and_ports_are_those_that_clients_see() {
    let address = own_address();
    let directory = crate::harness::Directory::new();
    let file = directory.path().join("error.json");
    std::fs::write(&file, "{\"error\": \"%s\", \"id\": \"%s\"}").unwrap();
    let settings = [
        ("KONG_ERROR_TEMPLATE_JSON", file.display().to_string()),
        ("KONG_PROXY_LISTEN", address.to_string()),
        ("KONG_PORT_MAPS", format!("443:{}", address.port())),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let edge = Edge::start(&settings, json!({})).await;
    let missed = http::get(address, "/none").await.unwrap();
    assert_eq!(missed.json()["error"], "no Route matched with those values");
    assert_eq!(missed.json()["id"].as_str(), missed.header("x-kong-request-id"));
    let proxied = edge.get("/r", &[]).await;
    assert_eq!(proxied.json()["headers"]["x-forwarded-port"], "443");
}

/// Sends bytes that are no request that is served, and waits for the end of the connection.
async fn sent(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    // What is left unread on the other side may reset the connection: the line counts.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Sends requests that never reach a handler, and returns their lines.
async fn refused(format: &str) -> Vec<String> {
    let log = format!("access.log {format}");
    let edge = Edge::start(&[("KONG_PROXY_ACCESS_LOG", &log)], json!({})).await;
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(40_000));
    for bytes in [
        &b"GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"[..],
        b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET /half HTTP/1.1\r\nHost:",
        b"GET /les",
        long.as_bytes(),
    ] {
        sent(edge.address(0), bytes).await;
    }
    // Nothing at all is no request.
    sent(edge.address(0), b"").await;
    let directory = edge.stop().await;
    let text = std::fs::read_to_string(directory.path().join("dp/access.log")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn requests_that_are_refused_have_a_line_with_what_is_known_of_them() {
    let lines = refused("").await;
    let starts = [
        "\"GET /bad HTTP/1.1\" 400 12 \"-\" \"-\" kong_request_id: \"",
        "\"TRACE / HTTP/1.1\" 405 19 \"-\" \"-\" kong_request_id: \"",
        "\"\\x16\\x03\\x01\\x02\\x00\" 400 12 \"-\" \"-\" kong_request_id: \"",
        "\"GET /half HTTP/1.1\" 400 0 \"-\" \"-\" kong_request_id: \"",
        "\"\" 400 0 \"-\" \"-\" kong_request_id: \"",
    ];
    assert_eq!(lines.len(), starts.len() + 1, "{lines:?}");
    for (line, start) in lines.iter().zip(starts) {
        let (client, rest) = line.split_once(" - - [").unwrap();
        let (_, rest) = rest.split_once("] ").unwrap();
        assert!(client == "127.0.0.1" && rest.starts_with(start), "{line}");
        let (_, hash) = line.split_once(" config_hash: ").unwrap();
        assert_eq!(hash.len(), 14, "{line}");
    }
    let long = lines.last().unwrap();
    assert!(long.contains("\"GET /aaa") && long.contains("aaa\" 414 13 \"-\""), "{long}");
    assert!(long.len() < 3000, "so much of a line is enough");
    let lines = refused("combined").await;
    assert!(lines[1].ends_with("\"TRACE / HTTP/1.1\" 405 19 \"-\" \"-\""), "{lines:?}");
}

#[tokio::test]
async fn json_lines_of_refused_requests_leave_out_what_is_not_known() {
    let lines = refused("json").await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen = |line: &Value| (line["request"].clone(), line["status"].clone());
    assert_eq!(seen(&lines[1]), (json!("TRACE / HTTP/1.1"), json!(405)));
    assert_eq!(seen(&lines[4]), (Value::Null, json!(400)));
    for name in ["time", "kong_request_id", "config_hash"] {
        assert!(lines[4][name].is_string(), "{name}: {}", lines[4]);
    }
    assert_eq!(lines[4]["remote_addr"], "127.0.0.1");
    assert_eq!(lines[4]["body_bytes_sent"], 0);
}

async fn given_up(mut upstream: TcpStream) {
    let mut rest = Vec::new();
    let over = upstream.read_to_end(&mut rest);
    tokio::time::timeout(PATIENCE, over).await.unwrap().unwrap();
}

/// Asks over HTTP/1.1, or over HTTP/2 and gives the request up, while the upstream says nothing.
#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_logged_with_499() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let services = json!([{"name": "s", "url": url, "routes": [{"name": "r", "paths": ["/r"]}]}]);
    let settings =
        [("KONG_PROXY_ACCESS_LOG", "access.log json"), ("KONG_PROXY_LISTEN", "127.0.0.1:0 http2")];
    let edge = Edge::start(&settings, json!({"services": services})).await;
    let mut client = TcpStream::connect(edge.address(0)).await.unwrap();
    client.write_all(b"GET /r/one HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (asked, _) = silent.accept().await.unwrap();
    drop(client);
    // The request upstream is given up, too.
    given_up(asked).await;

    let stream = TcpStream::connect(edge.address(0)).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = ::http::Request::get("http://a/r/two").body(()).unwrap();
    let (answer, mut stream) = sender.send_request(request, true).unwrap();
    let (asked, _) = silent.accept().await.unwrap();
    stream.send_reset(h2::Reason::CANCEL);
    drop(answer);
    given_up(asked).await;

    let directory = edge.stop().await;
    let text = std::fs::read_to_string(directory.path().join("dp/access.log")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, path) in lines.iter().zip(["/r/one", "/r/two"]) {
        assert_eq!((&line["status"], &line["request_uri"]), (&json!(499), &json!(path)), "{line}");
        assert_eq!(line["body_bytes_sent"], 0);
        assert!(line["route_id"].is_string() && line["service_id"].is_string(), "{line}");
    }
}
