//! The status API: what a node of each role tells, and that nothing can be changed by it.

use std::process::Command;

use serde_json::{Value, json};

use crate::crash_loop::DataProcess;
use crate::harness::{Cluster, poll};
use crate::http;

const STATUS: (&str, &str) = ("KONG_STATUS_LISTEN", "127.0.0.1:0");

async fn get(cluster: &Cluster, path: &str) -> Value {
    let answer = http::get(cluster.status(), path).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

/// A data plane with an upstream of two targets, one of them with two rows of history.
async fn with_upstream() -> Cluster {
    let mut cluster = Cluster::without_data().await;
    let hosts = cluster.directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 name.test\n").unwrap();
    let hosts = hosts.display().to_string();
    cluster.start_data_in("dp", &[("KONG_DNS_HOSTSFILE", &hosts)]).await;
    cluster.put("/upstreams/u.test", json!({})).await;
    for (target, weight) in [("127.0.0.1:9001", 10), ("name.test:9002", 30)] {
        let body = json!({"target": target, "weight": weight});
        let made = cluster.call("POST", "/upstreams/u.test/targets", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    cluster.converge().await;
    // The Status API is told just after traffic is, and of the name once it has been looked up.
    let known = poll(async || {
        let path = "/upstreams/u.test/health?balancer_health=1";
        let health = http::get(cluster.status(), path).await.ok()?.json();
        (health["data"]["details"]["weight"]["available"] == 40).then_some(())
    });
    known.await.expect("the Status API knows both targets");
    cluster
}

/// "Several readonly endpoints from the Admin API are exposed to the Status API on data planes: GET
/// /upstreams/{upstream}/targets/, /health/, /targets/all/, /targets/{target}."
#[tokio::test(flavor = "multi_thread")]
async fn several_readonly_endpoints_are_exposed_to_the_status_api_on_data_planes() {
    let cluster = with_upstream().await;
    let names = |listed: &Value| -> Vec<String> {
        let rows = listed["data"].as_array().unwrap();
        rows.iter().map(|row| row["target"].as_str().unwrap().to_owned()).collect()
    };
    for path in ["/upstreams/u.test/targets/", "/upstreams/u.test/targets/all/"] {
        let listed = get(&cluster, path).await;
        assert_eq!(names(&listed), ["name.test:9002", "127.0.0.1:9001"], "{path}");
        assert_eq!(listed["next"], Value::Null);
    }
    let one = get(&cluster, "/upstreams/u.test/targets/127.0.0.1:9001").await;
    let id = one["id"].as_str().unwrap();
    assert_eq!(get(&cluster, &format!("/upstreams/u.test/targets/{id}")).await, one);

    let health = get(&cluster, "/upstreams/u.test/health/").await;
    let of_address = &health["data"][1];
    assert_eq!(
        (&of_address["health"], &of_address["id"]),
        (&json!("HEALTHCHECKS_OFF"), &json!(id))
    );
    let address =
        json!({"ip": "127.0.0.1", "port": 9001, "weight": 10, "health": "HEALTHCHECKS_OFF"});
    let weight = json!({"total": 10, "available": 10, "unavailable": 0});
    let known = json!({
        "host": "127.0.0.1", "port": 9001, "nodeWeight": 10, "weight": weight,
        "addresses": [address],
    });
    assert_eq!(of_address["data"], known);
    assert_eq!(health["node_id"].as_str().map(str::len), Some(36));

    let whole = get(&cluster, "/upstreams/u.test/health?balancer_health=1").await;
    let whole = (&whole["data"], &whole["next"]);
    assert_eq!(whole.1, &Value::Null);
    assert_eq!(
        (&whole.0["health"], &whole.0["balancer_health"], &whole.0["details"]["healthy"]),
        (&json!("HEALTHCHECKS_OFF"), &json!("HEALTHY"), &json!(true))
    );
    assert_eq!(
        whole.0["details"]["weight"],
        json!({"total": 40, "available": 40, "unavailable": 0})
    );
    assert_eq!(whole.0["details"]["hosts"][1], known);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_api_changes_nothing_and_has_nothing_else() {
    let cluster = with_upstream().await;
    let below = ["targets", "targets/all", "targets/127.0.0.1:9001", "health"];
    let paths = below.map(|below| format!("/upstreams/u.test/{below}"));
    for path in paths.iter().map(String::as_str).chain(["/status", "/status/dns", "/metrics"]) {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let answer = http::send(cluster.status(), method, path, &[], "").await.unwrap();
            let said = (answer.status, answer.json());
            assert_eq!(said, (405, json!({"message": "Method not allowed"})), "{method} {path}");
        }
    }
    for path in [
        "/",
        "/config",
        "/services",
        "/upstreams",
        "/upstreams/u.test",
        "/upstreams/u.test/targets/127.0.0.1:9001/healthy",
        "/upstreams/nope/targets",
        "/upstreams/u.test/targets/nope",
        "/clustering/data-planes",
    ] {
        let answer = http::get(cluster.status(), path).await.unwrap();
        assert_eq!(
            (answer.status, answer.json()),
            (404, json!({"message": "Not found"})),
            "{path}"
        );
    }
    let answer = http::get(cluster.status(), "/status").await.unwrap();
    assert_eq!(answer.header("server"), Some("kong/3.9.1"));
    assert!(answer.header("x-kong-admin-latency").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_is_ready_with_its_first_config_were_it_empty_and_until_it_is_drained() {
    let mut cluster = Cluster::without_data().await;
    cluster.stop_control().await;
    cluster.start_data().await;
    let ready = async |cluster: &Cluster| {
        let answer = http::get(cluster.status(), "/status/ready").await.unwrap();
        (answer.status, answer.json()["message"].as_str().unwrap_or_default().to_owned())
    };
    let empty = "no configuration available (empty configuration present)";
    assert_eq!(ready(&cluster).await, (503, empty.to_owned()));
    assert_eq!(get(&cluster, "/status").await["configuration_hash"], "0".repeat(32));

    cluster.start_control().await;
    let done = poll(async || (ready(&cluster).await.0 == 200).then_some(()));
    assert!(done.await.is_some(), "{:?}", ready(&cluster).await);
    cluster.put("/consumers/a", json!({})).await;
    cluster.converge().await;
    let hash = cluster.data.as_ref().unwrap().config_hash().to_hex();
    let status = get(&cluster, "/status?unit=b").await;
    assert_eq!(status["configuration_hash"], hash);
    assert!(status["memory"]["workers_lua_vms"][0]["http_allocated_gc"].is_u64());
    assert_eq!(status.get("database"), None);
    cluster.stop_control().await;
    assert_eq!(ready(&cluster).await, (200, "ready".to_owned()));

    let json = [("Content-Type", "application/json")];
    let drain = async |body| {
        let status = cluster.status();
        http::send(status, "POST", "/status/ready", &json, body).await.unwrap().status
    };
    assert_eq!(drain(r#"{"status":"up"}"#).await, 400);
    assert_eq!(drain(r#"{"status":"draining"}"#).await, 204);
    assert_eq!(ready(&cluster).await, (503, "draining".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_tells_of_its_database_and_of_no_upstreams() {
    let mut cluster = Cluster::without_data().await;
    cluster.stop_control().await;
    cluster.start_control_with(&[STATUS]).await;
    cluster.put("/upstreams/u.test", json!({})).await;
    let control = cluster.control.as_ref().unwrap().status[0];
    for (path, status, part) in [
        ("/status", 200, json!({"database": {"reachable": true}})),
        ("/status/ready", 200, json!({"message": "ready"})),
        ("/status/dns", 501, json!({"message": "not implemented with the legacy DNS client"})),
        ("/upstreams/u.test/targets", 404, json!({"message": "Not found"})),
    ] {
        let answer = http::get(control, path).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        for (name, value) in part.as_object().unwrap() {
            assert_eq!(&answer.json()[name], value, "{path}");
        }
        assert_eq!(answer.json().get("configuration_hash"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_takes_a_running_node_out_of_service() {
    let cluster = Cluster::without_data().await;
    cluster.put("/consumers/a", json!({})).await;
    let process = DataProcess::start(&cluster, "dp").await;
    process.serves(cluster.control.as_ref().unwrap().writer.head().config_hash).await;
    let ready = async || {
        let answer = http::get(process.status(), "/status/ready").await.unwrap();
        (answer.status, answer.json()["message"].clone())
    };
    assert_eq!(ready().await, (200, json!("ready")));
    let drain = |prefix: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        let output = command.args(["drain", "-p"]).arg(cluster.prefix(prefix)).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let said = "Kong's status successfully changed to 'draining'\n".to_owned();
    assert_eq!(drain("dp"), (true, said));
    assert_eq!(ready().await, (503, json!("draining")));
    assert_eq!(drain("nobody"), (false, String::new()));
}

/// "expiry shown in /clustering/data-planes, metrics, and a log line": by the names that Kong's
/// prometheus plugin has for them.
#[tokio::test(flavor = "multi_thread")]
async fn both_planes_tell_prometheus_of_the_cluster() {
    let cluster = with_upstream().await;
    let head = cluster.control.as_ref().unwrap().writer.head().config_hash.to_string();
    // The row is written when the data plane has said so.
    let row = poll(async || {
        let rows = http::get(cluster.admin(), "/clustering/data-planes").await.ok()?.json();
        rows["data"].as_array()?.first().filter(|row| row["config_hash"] == head).cloned()
    });
    let row = row.await.expect("a row of the data plane");
    let (id, expiry) = (row["id"].as_str().unwrap(), &row["cert_details"]["expiry_timestamp"]);

    let answer = http::get(cluster.admin(), "/metrics").await.unwrap();
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
    let of_control = answer.body;
    let hostname = row["hostname"].as_str().unwrap();
    let labels = format!("{{node_id=\"{id}\",hostname=\"{hostname}\",ip=\"127.0.0.1\"");
    let number = u128::from_str_radix(&row["config_hash"].as_str().unwrap()[..32], 16).unwrap();
    for line in [
        format!("kong_data_plane_cluster_cert_expiry_timestamp{labels}}} {expiry}"),
        format!("kong_data_plane_version_compatible{labels},kong_version=\"3.9.1\"}} 1"),
        format!("kong_data_plane_config_hash{labels}}} {}", number as f64),
        format!("hybridctl_data_plane_connected{labels}}} 1"),
        format!("hybridctl_data_plane_rejects{labels}}} 0"),
        format!("hybridctl_cluster_cert_expiry_timestamp {expiry}"),
        "kong_datastore_reachable 1".to_owned(),
    ] {
        assert!(of_control.lines().any(|it| it == line), "no {line} in {of_control}");
    }
    assert!(of_control.contains("\nkong_data_plane_last_seen{"), "{of_control}");

    let of_data = http::get(cluster.status(), "/metrics").await.unwrap().body;
    let config_hash = row["config_hash"].as_str().unwrap();
    for line in [
        format!("kong_data_plane_cluster_cert_expiry_timestamp {expiry}"),
        format!("hybridctl_config_info{{config_hash=\"{config_hash}\"}} 1"),
        format!("kong_node_info{{node_id=\"{id}\",version=\"3.9.1\"}} 1"),
        "hybridctl_control_plane_connected 1".to_owned(),
    ] {
        assert!(of_data.lines().any(|it| it == line), "no {line} in {of_data}");
    }
}
