//! Data planes that differ from their control plane: who gets which config, and what is said.

use serde_json::{Value, json};

use crate::harness::{Cluster, poll};
use crate::http::Upstream;

/// A plugin that the data plane does not have.
const PLUGIN: &str = "/plugins/0a5bd5c4-6f6a-4d3e-9b0a-000000000001";

/// Waits until the row of the one data plane has this status.
async fn status(cluster: &Cluster, wanted: &str) {
    let mut last = Value::Null;
    let found = poll(async || {
        let answer = cluster.call("GET", "/clustering/data-planes", &Value::Null).await;
        last = answer.json()["data"][0]["sync_status"].clone();
        (last == wanted).then_some(())
    })
    .await;
    assert!(found.is_some(), "expected {wanted}, it is {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn if_the_compatibility_checks_fail_the_control_plane_stops_pushing_out_new_configs() {
    let upstream = Upstream::start("blue").await;
    let mut cluster = Cluster::without_data().await;
    cluster.route("r", "/r", &upstream).await;
    cluster.start_data_in("dp", &[("KONG_PLUGINS", "key-auth")]).await;
    cluster.converge().await;
    status(&cluster, "normal").await;
    let served = cluster.data.as_ref().unwrap().config_hash();

    cluster.put(PLUGIN, json!({"name": "correlation-id"})).await;
    status(&cluster, "plugin_set_incompatible").await;
    cluster.route("later", "/later", &upstream).await;
    cluster.until("/r", |answer| answer.status == 200).await;
    assert_eq!(cluster.data.as_ref().unwrap().config_hash(), served, "the last good one stays");

    assert_eq!(cluster.call("DELETE", PLUGIN, &Value::Null).await.status, 204);
    cluster.converge().await;
    status(&cluster, "normal").await;
    cluster.until("/later", |answer| answer.status == 200).await;
}
