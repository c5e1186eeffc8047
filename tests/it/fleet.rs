//! The rows of data planes: what they tell, over restarts, and across control planes of a database.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Cluster, poll};
use crate::postgres::Schema;

/// Returns the rows of all data planes.
async fn rows(cluster: &Cluster) -> Vec<Value> {
    let answer = cluster.call("GET", "/clustering/data-planes", &Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"].as_array().unwrap().clone()
}

/// Waits until the one row is as wanted, and returns it.
async fn row(cluster: &Cluster, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Vec::new();
    let found = poll(async || {
        last = rows(cluster).await;
        last.first().filter(|row| last.len() == 1 && wanted(row)).cloned()
    });
    let found = found.await;
    found.unwrap_or_else(|| panic!("rows: {last:?}"))
}

fn runs(cluster: &Cluster) -> impl Fn(&Value) -> bool + Clone + use<> {
    let head = cluster.control.as_ref().unwrap().writer.head().config_hash;
    move |row| row["applied_hash"] == json!(head)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_and_its_node_id_outlive_both_planes() {
    let mut cluster = Cluster::without_data().await;
    cluster.put("/consumers/a", json!({})).await;
    cluster.start_data_in("dp", &[("KONG_CLUSTER_DP_LABELS", "Region:EU,tier:edge-1")]).await;
    let before = row(&cluster, runs(&cluster)).await;
    assert_eq!(before["labels"], json!({"Region": "EU", "tier": "edge-1"}));
    assert_eq!((&before["connected"], &before["dialect"]), (&json!(true), &json!("native")));
    assert_eq!(before["sync_status"], "normal");
    let node_id = std::fs::read_to_string(cluster.prefix("dp").join("kong.id")).unwrap();
    assert_eq!(before["id"], node_id.trim());
    let control_plane = std::fs::read_to_string(cluster.prefix("cp").join("kong.id")).unwrap();
    assert_eq!(before["control_plane"]["node_id"], control_plane.trim());
    let ttl = before["ttl"].as_u64().unwrap();
    assert!((1_209_590..=1_209_600).contains(&ttl), "{ttl}");

    cluster.stop_data().await;
    row(&cluster, |row| row["connected"] == false).await;
    cluster.stop_control().await;
    cluster.start_control().await;
    let after = row(&cluster, |_| true).await;
    for column in ["id", "labels", "cert_details", "applied_hash", "config_hash", "last_seen"] {
        assert_eq!(after[column], before[column], "{column}");
    }
    assert_eq!((&after["connected"], &after["control_plane"]), (&json!(false), &Value::Null));

    // The same data plane, not another one.
    cluster.start_data_in("dp", &[]).await;
    let back = row(&cluster, |row| row["connected"] == true).await;
    assert_eq!((&back["id"], &back["labels"]), (&before["id"], &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_control_plane_of_a_database_lists_all_data_planes() {
    let schema = Schema::new();
    schema.migrate().await;
    let mut one = Cluster::without_data_with(schema.env()).await;
    let two = Cluster::without_data_with(one.env_with_certificate(schema.env())).await;
    let address = |cluster: &Cluster| cluster.control.as_ref().unwrap().cluster[0].to_string();
    let both = format!("{},{}", address(&one), address(&two));
    one.start_data_in("dp", &[("KONG_CLUSTER_CONTROL_PLANE", &both)]).await;
    one.put("/consumers/a", json!({})).await;

    let id = |cluster: &Cluster| {
        let id = std::fs::read_to_string(cluster.prefix("cp").join("kong.id")).unwrap();
        json!(id.trim())
    };
    let (first, second) = (id(&one), id(&two));
    let runs = runs(&one);
    let is_at = |id: Value| {
        let runs = runs.clone();
        move |row: &Value| runs(row) && row["control_plane"]["node_id"] == id
    };
    let here = row(&one, is_at(first.clone())).await;
    let there = row(&two, is_at(first)).await;
    for column in ["id", "hostname", "ip", "config_hash", "labels", "cert_details", "applied_seq"] {
        assert_eq!(there[column], here[column], "{column}");
    }
    let status = two.call("GET", "/clustering/status", &Value::Null).await;
    assert_eq!(status.json()[here["id"].as_str().unwrap()]["config_hash"], here["config_hash"]);

    // It goes over when its control plane goes; who comes back learns where it is.
    one.stop_control().await;
    row(&two, is_at(second.clone())).await;
    one.start_control().await;
    row(&one, is_at(second)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_places_and_methods_are_kongs() {
    let cluster = Cluster::without_data().await;
    let id = "00000000-0000-4000-8000-000000000001";
    for (method, path, status) in [
        ("GET", "/clustering/data-planes".to_owned(), 200),
        ("GET", "/clustering/data-planes?size=0".to_owned(), 400),
        ("GET", "/clustering/data-planes?size=x".to_owned(), 400),
        ("GET", "/clustering/data-planes?offset=x".to_owned(), 400),
        ("OPTIONS", "/clustering/data-planes".to_owned(), 204),
        ("POST", "/clustering/data-planes".to_owned(), 405),
        ("DELETE", "/clustering/status".to_owned(), 405),
        ("GET", format!("/clustering/data-planes/{id}"), 404),
        ("DELETE", format!("/clustering/data-planes/{id}"), 404),
        ("PATCH", format!("/clustering/data-planes/{id}"), 404),
        ("GET", "/clustering_data_planes".to_owned(), 404),
    ] {
        let answer = cluster.call(method, &path, &Value::Null).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    }
}

/// Runs `hybridctl fleet` against a control plane; returns its exit code, output and errors.
fn command(cluster: &Cluster, line: &str, token: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    command.env_clear().env("KONG_PREFIX", cluster.prefix("cli"));
    command.env("HYBRIDCTL_ADMIN_TOKEN", token);
    let url = format!("http://{}", cluster.admin());
    command.arg("fleet").args(line.split_whitespace()).args(["--admin-url", &url]);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tells_and_waits() {
    let mut cluster = Cluster::without_data().await;
    let fleet = |cluster: &Cluster, line: &str| command(cluster, line, "");
    let (code, said, _) = fleet(&cluster, "");
    assert_eq!(code, 0);
    assert!(said.starts_with("0 data planes. The newest head is 0 (config "), "{said}");
    let (code, _, error) = fleet(&cluster, "wait --timeout 0s");
    assert_eq!(code, 3, "nobody is there: {error}");
    assert!(error.contains("0 data planes are connected, of 1"), "{error}");

    cluster.start_data_in("dp", &[("KONG_CLUSTER_DP_LABELS", "region:eu")]).await;
    cluster.put("/consumers/a", json!({})).await;
    let (code, said, error) = fleet(&cluster, "wait 1 --labels region=eu");
    assert_eq!((code, &*said), (0, "1 data plane serves it.\n"), "{error}");
    let (code, said, _) = fleet(&cluster, "");
    assert_eq!(code, 0);
    assert!(said.starts_with("1 data plane: 1 in sync. The newest head is 1 "), "{said}");
    assert!(said.contains("its certificate expires in ") && said.contains("region=eu"), "{said}");
    assert!(fleet(&cluster, "--labels region=us").1.starts_with("0 data planes."));
    let (_, said, _) = fleet(&cluster, "--json");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["head"]["seq"], 1);
    assert_eq!(said["data_planes"][0]["standing"], "in sync");
    assert_eq!(said["data_planes"][0]["applied_seq"], 1);

    // A pin holds it back: it does what it is to do, and not what is asked for.
    let row = rows(&cluster).await.remove(0);
    let pin = json!({"node_id": row["id"], "to": 1});
    let pinned = cluster.call("POST", "/pins", &pin).await;
    assert_eq!(pinned.status, 201, "{}", pinned.body);
    cluster.put("/consumers/b", json!({})).await;
    assert_eq!(fleet(&cluster, "wait").0, 0);
    let (code, _, error) = fleet(&cluster, "wait 2 --timeout 1s");
    assert_eq!(code, 3);
    assert!(error.contains("held by pin among them"), "{error}");

    let (code, _, error) = fleet(&cluster, "wait 9 --timeout 0s");
    assert!(code == 1 && error.contains("cannot find 9"), "{code} {error}");
    cluster.stop_control().await;
    let gone = "http://127.0.0.1:1";
    let mut there = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    there.env_clear().env("KONG_PREFIX", cluster.prefix("cli"));
    let output = there.args(["fleet", "--admin-url", gone]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("cannot connect to http://127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_a_token_where_one_is_asked_for() {
    let on = [("KONG_ADMIN_AUTH".to_owned(), "on".to_owned())];
    let cluster = Cluster::without_data_with(on.to_vec()).await;
    let (code, _, error) = command(&cluster, "", "");
    assert!(code == 1 && error.contains("401"), "{code} {error}");
    let made = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
        .env_clear()
        .env("KONG_PREFIX", cluster.prefix("cp"))
        .args(["token", "create", "--role", "viewer", "--name", "eye"])
        .output()
        .unwrap();
    let token = String::from_utf8(made.stdout).unwrap();
    let said = poll(async || {
        let (code, said, _) = command(&cluster, "", token.trim());
        (code == 0).then_some(said)
    });
    assert!(said.await.unwrap().starts_with("0 data planes."));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_data_plane_runs_is_never_cleared_away() {
    let mut cluster = Cluster::without_data().await;
    cluster.put("/consumers/a", json!({})).await;
    cluster.start_data().await;
    row(&cluster, runs(&cluster)).await;
    cluster.stop_data().await;
    row(&cluster, |row| row["connected"] == false).await;
    // A control plane stores the newest snapshot when it stops: here that of 1, then that of 2.
    cluster.stop_control().await;
    cluster.start_control().await;
    cluster.put("/consumers/b", json!({})).await;
    cluster.stop_control().await;
    let cleared = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
        .env_clear()
        .env("KONG_PREFIX", cluster.prefix("cp"))
        .args(["snapshot", "gc", "--keep", "1", "--age", "0", "--json"])
        .output()
        .unwrap();
    let cleared: Value = serde_json::from_slice(&cleared.stdout).unwrap();
    let kept = (&cleared["snapshots_kept"], &cleared["snapshots_removed"]);
    assert_eq!(kept, (&json!(2), &json!([])), "{cleared}");
}
