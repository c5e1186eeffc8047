//! Where the time of a request went, as clients are told it (`X-Kong-Request-Debug`): who may ask, and
//! what of it is Kong's.

use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::edge::Edge;
use crate::harness::{Directory, own_address, poll};
use crate::http::{self, Answer, Upstream};
use crate::without_database::Node;

const ASKS: (&str, &str) = ("X-Kong-Request-Debug", "*");
const LOGS: (&str, &str) = ("X-Kong-Request-Debug-Log", "true");
const ELSEWHERE: (&str, &str) = ("X-Real-IP", "192.0.2.1");
const TRUSTS: (&str, &str) = ("KONG_TRUSTED_IPS", "127.0.0.1");

/// A plugin that runs in two phases, for all requests.
fn plugin() -> Value {
    let config = json!({"header_name": "X-Own-Id", "echo_downstream": true});
    json!([{"name": "correlation-id", "config": config}])
}

/// Returns what an answer tells; null when it tells nothing.
fn told(answer: &Answer) -> Value {
    let output = answer.header("x-kong-request-debug-output");
    output.map_or(Value::Null, |output| serde_json::from_str(output).unwrap())
}

/// Returns what is told but the times and ids, and what Kong alone tells.
fn form(tree: &Value) -> Value {
    let Value::Object(fields) = tree else {
        return tree.as_bool().map_or("…".into(), Value::from);
    };
    let kongs = |name: &str| ["workspace_id", "body_filter"].contains(&name);
    let fields = fields.iter().filter(|(name, _)| !kongs(name));
    let named = fields.map(|(name, value)| {
        let name = if name.parse::<Uuid>().is_ok() { "an id" } else { name };
        (name.to_owned(), form(value))
    });
    Value::Object(named.collect())
}

fn kongs(case: &str) -> Value {
    let fixture = include_str!("../fixtures/kong-3/request_debug.json");
    form(&serde_json::from_str::<Value>(fixture).unwrap()[case])
}

#[tokio::test]
async fn a_client_on_this_machine_is_told_it_in_kongs_form() {
    let upstream = Upstream::start("up").await;
    let by_name = format!("http://localhost:{}", upstream.address.port());
    let config = json!({
        "plugins": plugin(),
        "services": [
            {"name": "n", "url": by_name, "routes": [{"name": "n", "paths": ["/name"]}]},
            {
                "name": "dead", "url": format!("http://{}", own_address()), "retries": 2,
                "routes": [{"name": "dead", "paths": ["/dead"]}],
            },
        ],
        "routes": [{"name": "none", "paths": ["/no-service"]}],
    });
    let edge = Edge::start(&[], config).await;
    assert_eq!(edge.get("/name", &[]).await.header("x-kong-request-debug-output"), None);
    let answer = edge.get("/name", &[ASKS]).await;
    assert_eq!((answer.status, form(&told(&answer))), (200, kongs("a name")));
    assert_eq!(told(&answer)["request_id"].as_str(), answer.header("x-kong-request-id"));
    let answer = edge.get("/no-service", &[ASKS]).await;
    assert_eq!((answer.status, form(&told(&answer))), (503, kongs("no service")));

    // Nothing came from there, so there is no time to the first byte of it.
    let answer = edge.get("/dead", &[ASKS]).await;
    let told_of_it = told(&answer);
    assert_eq!(answer.status, 502);
    assert_eq!(form(&told_of_it["child"]["upstream"]), json!({"total_time": "…"}));
    assert!(told_of_it["child"]["balancer"]["total_time"].is_number(), "{told_of_it}");

    let answer = edge.get("/nowhere", &[ASKS]).await;
    let told_of_it = &told(&answer)["child"];
    assert_eq!(answer.status, 404);
    let names: Vec<_> = told_of_it.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["access", "header_filter", "rewrite"]);
    let access = json!({"total_time": "…", "child": {"router": {"total_time": "…"}}});
    assert_eq!(form(&told_of_it["access"]), access);
}

#[tokio::test]
async fn a_retry_counts_and_the_time_to_the_first_byte_is_of_the_last_try() {
    let upstream = Upstream::start("up").await;
    let targets = json!([{"target": own_address()}, {"target": upstream.address}]);
    let config = json!({
        "upstreams": [{"name": "u.test", "targets": targets}],
        "services": [{"name": "s", "host": "u.test", "routes": [{"name": "r", "paths": ["/r"]}]}],
    });
    let edge = Edge::start(&[], config).await;
    for _ in 0..2 {
        let answer = edge.get("/r", &[ASKS]).await;
        assert_eq!(answer.status, 200);
        let child = &told(&answer)["child"];
        let upstream = &child["upstream"];
        let ms = |of: &Value| of["total_time"].as_f64().unwrap();
        assert!(ms(upstream) >= ms(&upstream["child"]["time_to_first_byte"]), "{child}");
        let wanted = ["access", "balancer", "header_filter", "rewrite", "upstream"];
        assert!(child.as_object().unwrap().keys().eq(wanted.iter()), "{child}");
        assert!(child["access"]["child"].get("dns").is_none(), "{child}");
    }
}

#[tokio::test]
async fn a_client_elsewhere_needs_the_token_which_is_in_a_file_for_its_owner() {
    let edge = Edge::start(&[TRUSTS], json!({})).await;
    let file = edge.prefix().join(".request_debug_token");
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(token.parse::<Uuid>().is_ok(), "{token}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let wrong = format!("{token}0");
    let shows = |token| ("X-Kong-Request-Debug-Token", token);
    let refused = ("X-Kong-Request-Debug", "access");
    for (headers, is_told) in [
        (&[ASKS, LOGS][..], true),
        (&[ASKS, shows("wrong")], true),
        (&[ASKS, ELSEWHERE], false),
        (&[ASKS, ELSEWHERE, shows("")], false),
        (&[ASKS, ELSEWHERE, shows(&wrong)], false),
        (&[ASKS, ELSEWHERE, shows(&token)], true),
        (&[ELSEWHERE, shows(&token)], false),
        (&[refused], false),
        (&[refused, ASKS], false),
        (&[ASKS, refused], true),
        (&[("x-kong-request-DEBUG", "*")], true),
    ] {
        let answer = edge.get("/r", headers).await;
        assert_eq!(told(&answer).is_object(), is_told, "{headers:?}");
        let reached = answer.json()["headers"].as_object().unwrap().clone();
        let debug: Vec<_> = reached.keys().filter(|it| it.contains("debug")).collect();
        assert!(debug.is_empty(), "{headers:?}: {debug:?}");
    }
}

#[tokio::test]
async fn the_token_may_be_set_and_all_of_it_may_be_off() {
    let own = ("KONG_REQUEST_DEBUG_TOKEN", "of my own");
    let edge = Edge::start(&[TRUSTS, own], json!({})).await;
    let shown = ("X-Kong-Request-Debug-Token", "of my own");
    assert!(told(&edge.get("/r", &[ASKS, ELSEWHERE, shown]).await).is_object());
    assert!(told(&edge.get("/r", &[ASKS, ELSEWHERE]).await).is_null());
    let file = edge.prefix().join(".request_debug_token");
    assert_eq!(std::fs::read_to_string(file).unwrap(), own.1);

    // An empty one is none: one is made up.
    let edge = Edge::start(&[TRUSTS, (own.0, "")], json!({})).await;
    let made_up = std::fs::read_to_string(edge.prefix().join(".request_debug_token")).unwrap();
    assert!(made_up.len() >= 32, "{}", made_up.len());
    for (token, is_told) in [("", false), (made_up.as_str(), true)] {
        let shown = ("X-Kong-Request-Debug-Token", token);
        assert_eq!(told(&edge.get("/r", &[ASKS, ELSEWHERE, shown]).await).is_object(), is_told);
    }

    let edge = Edge::start(&[("KONG_REQUEST_DEBUG", "off"), own], json!({})).await;
    let answer = edge.get("/r", &[ASKS, shown]).await;
    assert!(told(&answer).is_null());
    assert_eq!(answer.json()["headers"]["x-kong-request-debug"], "*", "nobody takes it away");
    assert!(!edge.prefix().join(".request_debug_token").exists());
}

#[tokio::test]
async fn what_is_refused_before_it_is_routed_is_not_told_of() {
    let edge = Edge::start(&[("KONG_CLIENT_MAX_BODY_SIZE", "4")], json!({})).await;
    for (body, status, is_told) in [("long enough", 413, false), ("ok", 200, true)] {
        let answer = http::send(edge.address(0), "POST", "/r", &[ASKS], body).await.unwrap();
        assert_eq!((answer.status, told(&answer).is_object()), (status, is_told));
    }
}

#[tokio::test]
async fn http_2_tells_it_too() {
    let edge = Edge::start(&[("KONG_PROXY_LISTEN", "127.0.0.1:0 http2")], json!({})).await;
    let stream = TokioIo::new(TcpStream::connect(edge.address(0)).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    for wanted in [true, false] {
        let mut request = hyper::Request::get("http://h.test/r");
        if wanted {
            request = request.header(ASKS.0, ASKS.1);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let output = answer.headers().get("x-kong-request-debug-output");
        assert_eq!(output.is_some(), wanted);
        if let Some(output) = output {
            let told: Value = serde_json::from_slice(output.as_bytes()).unwrap();
            assert_eq!(told["request_id"], answer.headers()["x-kong-request-id"].to_str().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_log_tells_it_to_the_end_and_none_tells_the_token() {
    let (directory, upstream) = (Directory::new(), Upstream::start("up").await);
    let tree = json!({
        "_format_version": "3.0",
        "plugins": plugin(),
        "services": [{
            "name": "s",
            "url": format!("http://localhost:{}", upstream.address.port()),
            "routes": [{"name": "r", "paths": ["/"]}],
        }],
    });
    let node = Node::start(&directory, &tree);
    node.until(node.proxy, "/", 200).await;
    let answer = http::send(node.proxy, "GET", "/", &[ASKS, LOGS], "").await.unwrap();
    let id = told(&answer)["request_id"].clone();
    assert!(id.is_string(), "{answer:?}");
    let prefix = directory.path().join("prefix");
    let mut log = String::new();
    let line = poll(async || {
        log = std::fs::read_to_string(prefix.join("logs/error.log")).ok()?;
        log.lines().find(|line| line.contains("[request-debug] output: ")).map(str::to_owned)
    });
    let line = line.await.expect("a line is logged");
    let (_, output) = line.split_once("[request-debug] output: ").unwrap();
    let mut values = serde_json::Deserializer::from_str(output).into_iter::<Value>();
    let output = values.next().unwrap().unwrap();
    assert_eq!((form(&output), &output["request_id"]), (kongs("a name, logged"), &id));
    let token = std::fs::read_to_string(prefix.join(".request_debug_token")).unwrap();
    assert!(log.contains(".request_debug_token") && !log.contains(&token), "{log}");
}
