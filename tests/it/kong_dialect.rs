//! Kong's dialect, both ways: a data plane of Kong at our control plane, our data plane at a
//! control plane of Kong, and both of ours; the peers write their bytes by hand.

use hybridctl::clock::Clock;
use hybridctl::planes::control::Control;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Cluster, poll};
use crate::http::{self, Upstream};
use crate::kong_wire::{BINARY, CLOSE, ControlWire, DataWire, PING, PONG, TEXT, accept, dial};

const ZERO: &str = "00000000000000000000000000000000";
const NODE: &str = "af89a707-0000-4000-8000-000000000001";

/// As a data plane of Kong 3.9.3 sends it.
const BASIC_INFO: &str = include_str!("../fixtures/kong-wire/basic_info.json");

/// As a control plane of Kong 3.9.3 sends it.
const RECONFIGURE: &str = include_str!("../fixtures/kong-wire/reconfigure-full.json");

/// Starts a control plane that sends each change at once.
async fn control() -> Cluster {
    let at_once = ("KONG_DB_UPDATE_FREQUENCY".to_owned(), "0".to_owned());
    Cluster::without_data_with(vec![at_once]).await
}

/// Asks for the upgrade as Kong does; returns the head of the answer.
async fn ask(cluster: &Cluster, query: &str) -> (String, DataWire) {
    let address = cluster.control.as_ref().unwrap().cluster[0];
    let mut wire = dial(address, cluster.directory.path()).await;
    let request = format!(
        "GET /v1/outlet?{query} HTTP/1.1\r\nUpgrade: websocket\r\nHost: {address}\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Connection: Upgrade\r\n\r\n"
    );
    wire.write(request.as_bytes()).await;
    (wire.head().await, wire)
}

/// Attaches a data plane of a Kong version.
async fn attach(cluster: &Cluster, version: &str) -> DataWire {
    let query = format!("node_id={NODE}&node_hostname=vm&node_version={version}");
    let (head, wire) = ask(cluster, &query).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    wire
}

/// Does the same, and says what a data plane of Kong says first.
async fn introduced(cluster: &Cluster) -> DataWire {
    let mut wire = attach(cluster, "3.9.3").await;
    wire.send(BINARY, BASIC_INFO.as_bytes()).await;
    wire.send(PING, ZERO.as_bytes()).await;
    wire
}

/// Waits until the row of the data plane is as wanted.
async fn row(cluster: &Cluster, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = poll(async || {
        let rows = cluster.call("GET", "/clustering/data-planes", &Value::Null).await.json();
        last = rows["data"][0].clone();
        Some(last.clone()).filter(&wanted)
    });
    found.await.unwrap_or_else(|| panic!("the row is {last}"))
}

fn hash(message: &Value) -> String {
    message["config_hash"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_of_kong_is_served_and_seen() {
    let cluster = control().await;
    let (head, mut wire) =
        ask(&cluster, &format!("node_id={NODE}&node_hostname=vm&node_version=3.9.3")).await;
    let lower = head.to_ascii_lowercase();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(lower.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(!lower.contains("extensions") && !lower.contains("sec-websocket-protocol"), "{head}");
    wire.send(BINARY, BASIC_INFO.as_bytes()).await;
    wire.send(PING, ZERO.as_bytes()).await;

    let first = wire.reconfigure().await;
    assert_eq!(first["type"], "reconfigure");
    assert_eq!(first["config_table"]["_format_version"], "3.0");
    assert_eq!(first["config_table"]["_transform"], false);
    assert_eq!(first["hashes"].as_object().unwrap().len(), 6);
    assert!(first["timestamp"].is_number());
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));

    let service = cluster.put("/services/a", json!({"url": "http://127.0.0.1:1/x"})).await;
    let second = wire.reconfigure().await;
    assert_eq!(second["config_table"]["services"][0]["id"], service["id"]);
    let head = cluster.control.as_ref().unwrap().writer.head();
    assert_eq!(hash(&second), head.config_hash.to_hex()[..32]);

    wire.send(PING, hash(&second).as_bytes()).await;
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));
    let row = row(&cluster, |row| row["config_hash"] == second["config_hash"]).await;
    assert_eq!((&row["id"], &row["hostname"]), (&json!(NODE), &json!("vm")));
    assert_eq!((&row["version"], &row["sync_status"]), (&json!("3.9.3"), &json!("normal")));
    assert_eq!(row["labels"], json!({"region": "lab", "tier": "one"}));
    assert_eq!(row["applied_hash"], head.config_hash.to_hex());

    wire.send(CLOSE, &[]).await;
    assert_eq!(wire.receive().await, Some((CLOSE, Vec::new())));
    assert_eq!(wire.receive().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_who_it_is_gets_400() {
    let cluster = control().await;
    for query in ["node_version=3.9.3", "node_id=a", ""] {
        let (head, _) = ask(&cluster, query).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{query}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_websocket_gets_no_answer() {
    let cluster = control().await;
    let address = cluster.control.as_ref().unwrap().cluster[0];
    let mut wire = dial(address, cluster.directory.path()).await;
    let request = "GET /v1/outlet?node_id=a&node_version=3.9.3 HTTP/1.1\r\nHost: x\r\n\r\n";
    wire.write(request.as_bytes()).await;
    assert_eq!(wire.receive().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_of_3_0_learns_that_there_is_no_protocol_but_this_one() {
    let cluster = control().await;
    let address = cluster.control.as_ref().unwrap().cluster[0];
    for (asked, wanted) in [("HEAD /v1/wrpc", "404"), ("HEAD /v1/outlet", "405")] {
        let mut wire = dial(address, cluster.directory.path()).await;
        wire.write(format!("{asked} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        let head = wire.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {wanted} ")), "{asked}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_by_a_close_frame() {
    let cluster = control().await;
    let info = json!({"type": "basic_info", "plugins": "acl"}).to_string();
    for (opcode, payload) in [
        (TEXT, BASIC_INFO.as_bytes()),
        (PING, ZERO.as_bytes()),
        (BINARY, b"{"),
        (BINARY, info.as_bytes()),
    ] {
        let mut wire = attach(&cluster, "3.9.3").await;
        wire.send(opcode, payload).await;
        assert_eq!(wire.receive().await, Some((CLOSE, Vec::new())));
        assert_eq!(wire.receive().await, None);
    }
    // Later ones: a ping of 31 bytes, a configuration of a data plane, a frame in parts.
    for bytes in [&[0x89, 0x9f][..], &[0x82, 0x80, 0, 0, 0, 0], &[0x02, 0x80, 0, 0, 0, 0]] {
        let mut wire = introduced(&cluster).await;
        wire.reconfigure().await;
        assert_eq!(wire.receive().await, Some((PONG, Vec::new())));
        let rest = vec![b'0'; if bytes.len() == 2 { 35 } else { 0 }];
        wire.write(&[bytes, &rest].concat()).await;
        assert_eq!(wire.receive().await, Some((CLOSE, Vec::new())), "{bytes:x?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_longer_than_cluster_max_payload_ends_the_session_before_it_is_read() {
    let more = ("KONG_CLUSTER_MAX_PAYLOAD".to_owned(), "4194304".to_owned());
    let cluster = Cluster::without_data_with(vec![more]).await;
    let mut wire = attach(&cluster, "3.9.3").await;
    // The head alone: 4,194,305 bytes are to follow.
    wire.write(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 1, 1, 2, 3, 4]).await;
    assert_eq!(wire.receive().await, Some((CLOSE, Vec::new())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_longer_than_cluster_max_payload_is_not_sent_and_the_reason_seen() {
    let mut cluster = control().await;
    // Nothing packs six bits a character any closer.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
                [(state >> 26) as usize],
        )
    });
    let noise: String = noise.take(100 << 10).collect();
    cluster.put("/consumers/big", json!({"custom_id": noise})).await;
    cluster.stop_control().await;
    let wanted = [
        ("KONG_ROLE", "control_plane"),
        ("KONG_ADMIN_LISTEN", "127.0.0.1:0"),
        ("KONG_STATUS_LISTEN", "off"),
        ("KONG_CLUSTER_LISTEN", "127.0.0.1:0"),
        ("KONG_DB_UPDATE_FREQUENCY", "0"),
    ];
    let mut settings = cluster.settings("cp", &wanted);
    // Less than an operator may set, so that the test need not make four megabytes; and set after
    // what is larger was written, which would be refused now.
    settings.cluster.max_payload = 64 << 10;
    cluster.control = Some(Control::start(&settings, Clock::System).await.unwrap());
    let mut wire = introduced(&cluster).await;
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));
    let row = row(&cluster, |row| row["rejected"] != Value::Null).await;
    assert!(row["rejected"].to_string().contains("payload too big"), "{row}");

    assert_eq!(cluster.call("DELETE", "/consumers/big", &Value::Null).await.status, 204);
    cluster.put("/consumers/bob", json!({})).await;
    let sent = poll(async || {
        let message = wire.reconfigure().await;
        (!message["config_table"]["consumers"].is_null()).then_some(())
    });
    assert!(sent.await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_served_is_refused_and_seen() {
    let cluster = control().await;
    let mut wire = attach(&cluster, "4.0.0").await;
    wire.send(BINARY, BASIC_INFO.as_bytes()).await;
    assert_eq!(wire.receive().await, Some((CLOSE, Vec::new())));
    assert_eq!(wire.receive().await, None);
    let row = row(&cluster, |row| row["sync_status"] != Value::Null).await;
    assert_eq!(row["sync_status"], "kong_version_incompatible");
    assert_eq!((&row["version"], &row["config_hash"]), (&json!("4.0.0"), &json!(ZERO)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_a_data_plane_lacks_holds_pushes_back_until_it_is_gone() {
    let cluster = control().await;
    let mut info: Value = serde_json::from_str(BASIC_INFO).unwrap();
    info["plugins"].as_array_mut().unwrap().retain(|plugin| plugin["name"] != "key-auth");
    let mut wire = attach(&cluster, "3.9.3").await;
    wire.send(BINARY, info.to_string().as_bytes()).await;
    wire.send(PING, ZERO.as_bytes()).await;
    wire.reconfigure().await;
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));

    let plugin = cluster.call("POST", "/plugins", &json!({"name": "key-auth"})).await.json();
    let blocked = row(&cluster, |row| row["sync_status"] != "normal").await;
    assert_eq!(blocked["sync_status"], "plugin_set_incompatible");
    let reason = blocked["rejected"].to_string();
    assert!(reason.contains("key-auth") && reason.contains("missing from data plane"), "{reason}");

    let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
    assert_eq!(cluster.call("DELETE", &path, &Value::Null).await.status, 204);
    cluster.put("/consumers/bob", json!({})).await;
    let message = poll(async || {
        let message = wire.reconfigure().await;
        (message["config_table"]["consumers"] != Value::Null).then_some(message)
    });
    assert!(message.await.unwrap()["config_table"].get("plugins").is_none());
    row(&cluster, |row| row["sync_status"] == "normal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_head_holds_data_planes_of_kong_too() {
    let cluster = control().await;
    cluster.put("/consumers/a", json!({})).await;
    assert!(cluster.call("POST", "/freeze", &json!({})).await.status < 300);
    cluster.put("/consumers/b", json!({})).await;

    let mut wire = introduced(&cluster).await;
    let frozen = wire.reconfigure().await;
    assert_eq!(frozen["config_table"]["consumers"].as_array().map(Vec::len), Some(1));
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));

    assert!(cluster.call("POST", "/unfreeze", &json!({})).await.status < 300);
    let newest = wire.reconfigure().await;
    assert_eq!(newest["config_table"]["consumers"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_an_error_is_noted_and_ends_nothing() {
    let cluster = control().await;
    let mut wire = introduced(&cluster).await;
    let message = wire.reconfigure().await;
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));
    let error = json!({"name": "configuration reload failed", "message": "map full",
        "config_hash": message["config_hash"]});
    wire.send(BINARY, json!({"type": "error", "error": error}).to_string().as_bytes()).await;
    let row = row(&cluster, |row| row["rejected"] != Value::Null).await;
    assert!(row["rejected"].to_string().contains("configuration reload failed: map full"));
    wire.send(PING, ZERO.as_bytes()).await;
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));
}

/// A control plane of Kong that waits for our data plane.
struct Kong {
    listener: TcpListener,
    cluster: Cluster,
}

impl Kong {
    /// Listens where the data planes of a cluster look for their control plane.
    async fn start() -> Self {
        let mut cluster = Cluster::without_data().await;
        let address = cluster.control.as_ref().unwrap().cluster[0];
        cluster.stop_control().await;
        Self { listener: TcpListener::bind(address).await.unwrap(), cluster }
    }

    /// Answers one request; returns its head.
    async fn answer(&self, answer: &str) -> (String, ControlWire) {
        let mut wire = accept(&self.listener, self.cluster.directory.path()).await;
        let head = wire.head().await;
        wire.write(answer.as_bytes()).await;
        (head, wire)
    }

    async fn refuse(&self) -> String {
        self.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.0
    }

    /// Takes in a data plane; returns its request and what it says first.
    async fn welcome(&self) -> (String, Value, String, ControlWire) {
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: upgrade\r\n\r\n";
        let (head, mut wire) = self.answer(answer).await;
        let (opcode, info) = wire.receive().await.unwrap();
        assert_eq!(opcode, BINARY);
        let info = serde_json::from_slice(&info).expect("it is not packed");
        let hash = ping(&mut wire).await;
        (head, info, hash, wire)
    }
}

/// Waits for a ping, answers it, and returns its hash.
async fn ping(wire: &mut ControlWire) -> String {
    let (opcode, hash) = wire.receive().await.unwrap();
    assert_eq!(opcode, PING);
    wire.send(PONG, &[]).await;
    String::from_utf8(hash).unwrap()
}

/// Returns the captured message with its service at an upstream, and without its plugin.
fn message(upstream: &Upstream, name: &str) -> Value {
    let mut message: Value = serde_json::from_str(RECONFIGURE).unwrap();
    message["config_hash"] = name.into();
    message["config_table"]["services"][0]["port"] = upstream.address.port().into();
    message["config_table"].as_object_mut().unwrap().remove("plugins");
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn our_data_plane_follows_a_control_plane_of_kong_and_keeps_what_it_sent() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut kong = Kong::start().await;
    kong.cluster.start_data_in("dp", &[("KONG_CLUSTER_DP_LABELS", "region:lab")]).await;
    assert!(kong.refuse().await.starts_with("GET /v1/hybrid?"), "the native path goes first");
    let (head, info, first, mut wire) = kong.welcome().await;
    let address = kong.listener.local_addr().unwrap();
    let arguments: Vec<_> = head.split(['=', '&']).collect();
    let (id, host) = (arguments[1], arguments[3]);
    let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert_eq!(
        head,
        format!(
            "GET /v1/outlet?node_id={id}&node_hostname={host}&node_version=3.9.1 HTTP/1.1\r\n\
             Upgrade: websocket\r\nHost: {address}\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n\r\n"
        )
    );
    assert_eq!((key.len(), first.as_str()), (24, ZERO));
    assert_eq!((&info["type"], &info["filters"]), (&json!("basic_info"), &json!({})));
    assert_eq!(info["labels"], json!({"region": "lab"}));
    assert_eq!(info["process_conf"]["cluster_cert_key"], "******");
    let names: Vec<_> =
        info["plugins"].as_array().unwrap().iter().map(|plugin| plugin["name"].as_str()).collect();
    assert!(names.is_sorted() && names.contains(&Some("key-auth")), "{names:?}");

    let one = "11111111111111111111111111111111";
    wire.send_packed(&message(&blue, one)).await;
    assert_eq!(ping(&mut wire).await, one);
    kong.cluster.until("/h", |answer| answer.json()["name"] == "blue").await;

    // What is not valid leaves what is served, and the session; hints may be absent or unknown.
    let mut bad = message(&green, "22222222222222222222222222222222");
    bad["config_table"]["routes"][0]["no_such_field"] = 1.into();
    wire.send_packed(&bad).await;
    wire.send_packed(&json!({"type": "no_such_type"})).await;
    let two = "33333333333333333333333333333333";
    let mut good = message(&green, two);
    for hint in ["timestamp", "hashes"] {
        good.as_object_mut().unwrap().remove(hint);
    }
    wire.send_packed(&good).await;
    assert_eq!(ping(&mut wire).await, two, "nothing is pinged for what is refused");
    kong.cluster.until("/h", |answer| answer.json()["name"] == "green").await;
    // Without a name of its own it gets ours.
    let mut nameless = message(&blue, one);
    nameless.as_object_mut().unwrap().remove("config_hash");
    wire.send_packed(&nameless).await;
    let named = ping(&mut wire).await;
    assert!(named.len() == 32 && named != one && named != two, "{named}");
    wire.send_packed(&good).await;
    assert_eq!(ping(&mut wire).await, two);

    // A restart serves the cache, and says by which name it goes.
    kong.cluster.stop_data().await;
    drop(wire);
    kong.cluster.start_data_in("dp", &[("KONG_CLUSTER_PROTOCOL", "kong")]).await;
    assert_eq!(http::get(kong.cluster.proxy(), "/h").await.unwrap().json()["name"], "green");
    let (again, _, hash, _) = kong.welcome().await;
    assert!(again.starts_with(&format!("GET /v1/outlet?node_id={id}&")), "{again}");
    assert_eq!(hash, two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_ends_the_session_only() {
    let blue = Upstream::start("blue").await;
    let mut kong = Kong::start().await;
    kong.cluster.start_data_in("dp", &[("KONG_CLUSTER_PROTOCOL", "kong")]).await;
    let (_, _, _, mut wire) = kong.welcome().await;
    let one = "11111111111111111111111111111111";
    wire.send_packed(&message(&blue, one)).await;
    assert_eq!(ping(&mut wire).await, one);
    wire.send(BINARY, b"no gzip").await;
    assert_eq!(wire.receive().await, Some((CLOSE, Vec::new())));
    assert_eq!(http::get(kong.cluster.proxy(), "/h").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_that_pinned_a_cluster_takes_nothing_unsigned() {
    let blue = Upstream::start("blue").await;
    let mut cluster = Cluster::start().await;
    cluster.route("a", "/a", &blue).await;
    cluster.until("/a", |answer| answer.status == 200).await;
    let address = cluster.control.as_ref().unwrap().cluster[0];
    cluster.stop_data().await;
    cluster.stop_control().await;
    let listener = TcpListener::bind(address).await.unwrap();
    cluster.start_data().await;
    let mut kong = Kong { listener, cluster };
    for _ in 0..2 {
        let asked = kong.refuse().await;
        assert!(asked.starts_with("GET /v1/hybrid?"), "{asked}");
    }
    assert_eq!(http::get(kong.cluster.proxy(), "/a").await.unwrap().status, 200);

    // Unless it is told to; and then not a moment longer.
    kong.cluster.stop_data().await;
    kong.cluster.start_data_in("dp", &[("KONG_CLUSTER_PROTOCOL", "kong")]).await;
    let (_, _, hash, mut wire) = kong.welcome().await;
    assert_ne!(hash, ZERO, "it serves something");
    let one = "11111111111111111111111111111111";
    wire.send_packed(&message(&blue, one)).await;
    assert_eq!(ping(&mut wire).await, one);
    kong.cluster.until("/h", |answer| answer.status == 200).await;
    kong.cluster.stop_data().await;
    kong.cluster.start_data().await;
    assert_eq!(http::get(kong.cluster.proxy(), "/a").await.unwrap().status, 200);
    assert_eq!(http::get(kong.cluster.proxy(), "/h").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_planes_of_ours_speak_kongs_dialect() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = control().await;
    cluster.route("a", "/a", &blue).await;
    cluster.start_data_in("dp", &[("KONG_CLUSTER_PROTOCOL", "kong")]).await;
    cluster.until("/a", |answer| answer.json()["name"] == "blue").await;
    cluster.route("a", "/a", &green).await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
    let head = cluster.control.as_ref().unwrap().writer.head().config_hash.to_hex();
    let row = row(&cluster, |row| row["config_hash"] == head[..32]).await;
    assert_eq!((&row["applied_hash"], &row["sync_status"]), (&json!(head), &json!("normal")));
}
