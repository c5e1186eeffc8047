//! Data planes of Kong 2.8 at our control plane: refused by default, let in by
//! `cluster_legacy_data_planes`. The data plane here speaks as 2.8.5 does, and checks what it is
//! sent by the fields that 2.8.5's schemas have: what it does not know is an error, unless it is null.

#[path = "../../src/wire/kong/compat/legacy/tests/known.rs"]
mod known;

use serde_json::{Value, json};

use crate::harness::{Cluster, poll};
use crate::kong_wire::{BINARY, CLOSE, DataWire, PING, PONG, dial};

const NODE: &str = "af89a707-0000-4000-8000-000000000028";

async fn control(legacy: bool) -> Cluster {
    let mut settings =
        vec![("KONG_DB_UPDATE_FREQUENCY", "0"), ("KONG_UNSUPPORTED_PLUGINS", "store")];
    if legacy {
        settings.push(("KONG_CLUSTER_LEGACY_DATA_PLANES", "on"));
    }
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Cluster::without_data_with(settings.collect()).await
}

/// Attaches a data plane that has all plugins of 2.8.5 but one, and introduces it: 2.8 tells its
/// plugins alone, and pings nothing while it has no config.
async fn attach(cluster: &Cluster, version: &str, without: &str) -> DataWire {
    let address = cluster.control.as_ref().unwrap().cluster[0];
    let mut wire = dial(address, cluster.directory.path()).await;
    let request = format!(
        "GET /v1/outlet?node_id={NODE}&node_hostname=old&node_version={version} HTTP/1.1\r\n\
         Upgrade: websocket\r\nHost: {address}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n\r\n"
    );
    wire.write(request.as_bytes()).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let plugins = known::plugins().into_iter().filter(|(name, _)| *name != without);
    let plugins: Vec<_> =
        plugins.map(|(name, version)| json!({"name": name, "version": version})).collect();
    let info = json!({"type": "basic_info", "plugins": plugins});
    wire.send(BINARY, info.to_string().as_bytes()).await;
    wire.send(PING, &[]).await;
    wire
}

async fn row(cluster: &Cluster, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = poll(async || {
        let rows = cluster.call("GET", "/clustering/data-planes", &Value::Null).await.json();
        last = rows["data"][0].clone();
        Some(last.clone()).filter(&wanted)
    });
    found.await.unwrap_or_else(|| panic!("the row is {last}"))
}

/// Returns the next message whose table is as wanted.
async fn until(wire: &mut DataWire, wanted: impl Fn(&Value) -> bool) -> Value {
    let message = poll(async || {
        let message = wire.reconfigure().await;
        wanted(&message["config_table"]).then_some(message)
    });
    message.await.expect("the config was sent")
}

/// Every plugin that both have, with what each must be told.
fn plugins() -> Vec<(&'static str, Value)> {
    vec![
        ("acl", json!({"allow": ["a"]})),
        (
            "acme",
            json!({"account_email": "a@example.com", "tos_accepted": true, "storage": "redis",
                "storage_config": {"redis": {"host": "r", "password": "p"}}}),
        ),
        ("aws-lambda", json!({"aws_region": "eu-west-1", "function_name": "f"})),
        ("azure-functions", json!({"functionname": "f", "appname": "a"})),
        ("basic-auth", json!({"realm": "mine"})),
        ("bot-detection", json!({})),
        ("correlation-id", json!({})),
        ("cors", json!({"origins": ["*"]})),
        ("datadog", json!({})),
        ("file-log", json!({"path": "/tmp/log"})),
        ("grpc-gateway", json!({})),
        ("grpc-web", json!({})),
        ("hmac-auth", json!({})),
        (
            "http-log",
            json!({"http_endpoint": "http://127.0.0.1/log", "headers": {"x-a": "1"},
                "queue": {"max_batch_size": 7, "max_coalescing_delay": 3}}),
        ),
        ("ip-restriction", json!({"deny": ["10.0.0.0/8"]})),
        ("jwt", json!({})),
        ("key-auth", json!({})),
        ("ldap-auth", json!({"ldap_host": "l", "base_dn": "dc=a", "attribute": "cn"})),
        ("loggly", json!({"key": "k"})),
        ("oauth2", json!({"enable_client_credentials": true})),
        ("post-function", json!({"access": ["return 1"]})),
        ("pre-function", json!({"access": ["return 1"]})),
        ("prometheus", json!({"status_code_metrics": true, "per_consumer": true})),
        ("proxy-cache", json!({"strategy": "memory"})),
        ("rate-limiting", json!({"minute": 5, "redis": {"host": "r", "username": "u"}})),
        ("request-size-limiting", json!({})),
        ("request-termination", json!({"status_code": 418})),
        ("request-transformer", json!({"add": {"headers": ["x-a:1"]}})),
        (
            "response-ratelimiting",
            json!({"limits": {"video": {"minute": 5}}, "redis": {"host": "r"}}),
        ),
        ("response-transformer", json!({"add": {"json": ["a:1"], "json_types": ["number"]}})),
        ("session", json!({"secret": "s", "remember": true})),
        ("statsd", json!({})),
        ("syslog", json!({})),
        ("tcp-log", json!({"host": "h", "port": 1})),
        ("udp-log", json!({"host": "h", "port": 1})),
        ("zipkin", json!({"http_endpoint": "http://127.0.0.1/z", "header_type": "b3"})),
    ]
}

/// Writes something of every kind, and every plugin.
async fn write_all(cluster: &Cluster) {
    cluster.put("/upstreams/u.local", json!({"hash_on": "ip"})).await;
    let target = json!({"target": "10.0.0.1:80"});
    assert_eq!(cluster.call("POST", "/upstreams/u.local/targets", &target).await.status, 201);
    let (cert, key) = cluster.directory.pair("served");
    let read = |path: String| std::fs::read_to_string(path).unwrap();
    let id = "c1a3b6f0-0000-4000-8000-000000000001";
    let body = json!({"cert": read(cert), "key": read(key), "snis": ["a.test", "*.wild.test"]});
    cluster.put(&format!("/certificates/{id}"), body).await;
    let root = include_str!("../fixtures/pki/pki-root.crt");
    let authority = cluster.call("POST", "/ca_certificates", &json!({"cert": root})).await.json();
    let body = json!({"host": "u.local", "path": "/base", "protocol": "https", "tls_verify": true,
        "ca_certificates": [authority["id"]], "client_certificate": {"id": id}});
    cluster.put("/services/s", body).await;
    cluster.put("/services/off", json!({"host": "h", "enabled": false})).await;
    let service = json!({"name": "s"});
    cluster
        .put(
            "/routes/plain",
            json!({"paths": ["/a", "/b-c/%2F"], "service": service, "headers": {"x": ["~*^v[12]$"]},
                "path_handling": "v1", "tags": ["t"]}),
        )
        .await;
    cluster.put("/routes/spelt", json!({"paths": ["/v1/x:y"], "service": service})).await;
    cluster
        .put(
            "/routes/pattern",
            json!({"paths": ["~/u/(?<id>\\d+)$", "~/lit.eral"], "regex_priority": 3,
                "service": service, "hosts": ["*.example.com"]}),
        )
        .await;
    cluster.put("/consumers/bob", json!({"custom_id": "b"})).await;
    for (path, body) in [
        ("acls", json!({"group": "g"})),
        ("basic-auth", json!({"username": "bob", "password": "p"})),
        ("hmac-auth", json!({"username": "bob", "secret": "p"})),
        ("jwt", json!({"key": "k", "secret": "s", "algorithm": "HS256"})),
        ("key-auth", json!({"key": "k"})),
        ("oauth2", json!({"name": "app", "redirect_uris": ["https://example.com/"]})),
    ] {
        let answer = cluster.call("POST", &format!("/consumers/bob/{path}"), &body).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.body);
    }
    cluster.put("/key-sets/ks", json!({})).await;
    cluster.put("/vaults/my-env", json!({"name": "env", "config": {}})).await;
    for (name, config) in plugins() {
        let answer =
            cluster.call("POST", "/plugins", &json!({"name": name, "config": config})).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_of_2_8_is_refused_unless_the_operator_lets_it_in() {
    for (legacy, version) in [(false, "2.8.5"), (true, "2.7.2"), (true, "1.5.1"), (true, "3.10.0")]
    {
        let cluster = control(legacy).await;
        let mut wire = attach(&cluster, version, "").await;
        assert_eq!(wire.receive().await, Some((CLOSE, Vec::new())), "{version}");
        assert_eq!(wire.receive().await, None);
        let row = row(&cluster, |row| row["sync_status"] != Value::Null).await;
        assert_eq!(row["sync_status"], "kong_version_incompatible", "{version}");
        assert_eq!(row["version"], version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_of_2_8_gets_what_it_knows_and_says_that_it_serves_it() {
    let cluster = control(true).await;
    write_all(&cluster).await;
    let mut wire = attach(&cluster, "2.8.5", "").await;
    let message = wire.reconfigure().await;
    let table = &message["config_table"];
    assert_eq!(known::faults(table), [""; 0]);
    assert_eq!((&table["_format_version"], &table["_transform"]), (&json!("2.1"), &json!(false)));
    assert_eq!(message["hashes"].as_object().unwrap().len(), 6);
    assert_eq!(table["plugins"].as_array().unwrap().len(), plugins().len());
    for kind in ["keys", "key_sets", "vaults"] {
        assert!(table.get(kind).is_none(), "{kind}");
    }
    for kind in ["certificates", "snis", "ca_certificates", "targets", "jwt_secrets", "acls"] {
        assert!(table[kind].is_array(), "{kind}");
    }

    let paths = |name: &str| {
        let routes = table["routes"].as_array().unwrap();
        let route = routes.iter().find(|route| route["name"] == name).unwrap();
        (route["paths"].clone(), route["regex_priority"].clone(), route["path_handling"].clone())
    };
    let (plain, _, handling) = paths("plain");
    assert_eq!((plain, handling), (json!(["/a", "/b-c/%2F"]), json!("v0")));
    assert_eq!(paths("spelt").0, json!(["/v1/x\\:y"]));
    let (pattern, priority, _) = paths("pattern");
    assert_eq!(pattern, json!(["/u/(?<id>\\d+)$", "/lit.eral(?:)"]));
    assert_eq!(priority, 3);

    let config = |name: &str| {
        let plugins = table["plugins"].as_array().unwrap();
        plugins.iter().find(|plugin| plugin["name"] == name).unwrap()["config"].clone()
    };
    let http_log = config("http-log");
    assert_eq!(http_log["headers"], json!({"x-a": ["1"]}));
    assert_eq!((&http_log["queue_size"], &http_log["flush_timeout"]), (&json!(7), &json!(3)));
    assert_eq!(config("rate-limiting")["redis_username"], "u");
    assert_eq!(config("acme")["storage_config"]["redis"]["auth"], "p");
    assert_eq!(config("session")["cookie_lifetime"], 3600);

    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));
    wire.send(PING, message["config_hash"].as_str().unwrap().as_bytes()).await;
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));
    let head = cluster.control.as_ref().unwrap().writer.head().config_hash.to_hex();
    let row = row(&cluster, |row| row["applied_hash"] == head).await;
    assert_eq!((&row["version"], &row["sync_status"]), (&json!("2.8.5"), &json!("normal")));
    assert_eq!(row["config_hash"], message["config_hash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_2_8_would_do_otherwise_is_not_sent_and_the_reason_seen() {
    let cluster = control(true).await;
    cluster.put("/routes/r", json!({"paths": ["~/a|/b"]})).await;
    let mut wire = attach(&cluster, "2.8.5", "").await;
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())), "no config comes before");
    let refused = row(&cluster, |row| row["rejected"] != Value::Null).await;
    assert_eq!(refused["sync_status"], "normal");
    let reason = refused["rejected"].to_string();
    assert!(reason.contains("(r): the path '~/a|/b' has branches at its top"), "{reason}");

    cluster.put("/routes/r", json!({"paths": ["~/(a|b)"]})).await;
    let message = until(&mut wire, |table| table["routes"].is_array()).await;
    assert_eq!(message["config_table"]["routes"][0]["paths"], json!(["/(a|b)"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_2_8_lacks_holds_its_configs_back_and_versions_of_plugins_do_not() {
    let cluster = control(true).await;
    let mut wire = attach(&cluster, "2.8.5", "cors").await;
    wire.reconfigure().await;
    assert_eq!(wire.receive().await, Some((PONG, Vec::new())));
    for (name, config) in
        [("opentelemetry", json!({"traces_endpoint": "http://127.0.0.1/t"})), ("cors", json!({}))]
    {
        let body = json!({"name": name, "config": config});
        let plugin = cluster.call("POST", "/plugins", &body).await.json();
        let blocked = row(&cluster, |row| row["sync_status"] == "plugin_set_incompatible").await;
        let reason = blocked["rejected"].to_string();
        assert!(reason.contains(&format!("configured {name} plugin")), "{reason}");
        let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
        assert_eq!(cluster.call("DELETE", &path, &Value::Null).await.status, 204);
        cluster.put(&format!("/consumers/{name}"), json!({})).await;
        until(&mut wire, |table| table["consumers"].is_array()).await;
        row(&cluster, |row| row["sync_status"] == "normal").await;
    }
    cluster.call("POST", "/plugins", &json!({"name": "key-auth"})).await;
    until(&mut wire, |table| table["plugins"].is_array()).await;
}
