//! The rows of data planes: what they tell, over restarts, and across control planes of a database.

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
