//! The access log of a data plane, in each of its forms, and error texts of the operator's own.

use serde_json::{Value, json};

use crate::edge::Edge;
use crate::harness::own_address;
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
