//! "Once the nodes are setup, use the Admin API on the control plane as usual, those changes will be
//! synced and updated on the data plane nodes automatically within seconds."

use serde_json::{Value, json};

use crate::harness::{Cluster, poll};
use crate::http::{self, Upstream};

async fn status(cluster: &Cluster, path: &str) -> u16 {
    cluster.converge().await;
    http::get(cluster.proxy(), path).await.unwrap().status
}

async fn delete(cluster: &Cluster, path: &str) {
    assert_eq!(cluster.call("DELETE", path, &Value::Null).await.status, 204, "{path}");
}

/// What is made, disabled and deleted on the control plane: 200, 404, and 503 without a service.
#[tokio::test(flavor = "multi_thread")]
async fn those_changes_will_be_synced_and_updated_on_the_data_plane_nodes_automatically() {
    let blue = Upstream::start("blue").await;
    let cluster = Cluster::start().await;
    assert_eq!(status(&cluster, "/a").await, 404);
    cluster.route("a", "/a", &blue).await;
    cluster.route("b", "/b", &blue).await;
    assert_eq!(status(&cluster, "/a").await, 200);

    // A plugin on a route of a disabled service: both go, the rest stays, and nothing is stuck.
    let limit = json!({"name": "rate-limiting", "config": {"hour": 5, "policy": "local"}});
    assert_eq!(cluster.call("POST", "/routes/a/plugins", &limit).await.status, 201);
    assert_eq!(status(&cluster, "/a").await, 200);
    let disable = json!({"enabled": false});
    assert_eq!(cluster.call("PATCH", "/services/a", &disable).await.status, 200);
    assert_eq!((status(&cluster, "/a").await, status(&cluster, "/b").await), (404, 200));
    let enable = json!({"enabled": true});
    assert_eq!(cluster.call("PATCH", "/services/a", &enable).await.status, 200);
    assert_eq!(status(&cluster, "/a").await, 200);

    cluster.put("/routes/alone", json!({"paths": ["/alone"]})).await;
    assert_eq!(status(&cluster, "/alone").await, 503);
    for path in ["/routes/alone", "/routes/a"] {
        delete(&cluster, path).await;
    }
    for path in ["/a", "/alone"] {
        assert_eq!(status(&cluster, path).await, 404, "{path}");
    }
}

/// "The Cluster Status API provides helpful information such as the name of the node and last time it
/// synced with the control plane, as well as config version currently running on them." All of them
/// run what the newest write made, and their rows say so.
#[tokio::test(flavor = "multi_thread")]
async fn you_may_want_to_check_the_status_of_the_kong_cluster_from_time_to_time() {
    let mut cluster = Cluster::start().await;
    let first = cluster.data.take();
    cluster.start_data_in("dp2", &[]).await;
    cluster.put("/consumers/a", json!({})).await;
    let head = cluster.control.as_ref().unwrap().writer.head().config_hash.to_hex();
    let rows = poll(async || {
        let listed = cluster.call("GET", "/clustering/data-planes", &Value::Null).await.json();
        let rows = listed["data"].as_array()?.clone();
        let all = rows.len() == 2 && rows.iter().all(|row| row["config_hash"] == head);
        (all && listed["next"].is_null()).then_some(rows)
    });
    let rows = rows.await.expect("both rows");
    let now = hybridctl::clock::Clock::System.now();
    assert!(rows[0]["id"].as_str() < rows[1]["id"].as_str(), "ordered by id");
    for row in &rows {
        let seen = row["last_seen"].as_i64().unwrap();
        assert!((now.timestamp() - seen).abs() < 60, "{row}");
    }
    // Page by page.
    let page = cluster.call("GET", "/clustering/data-planes?size=1", &Value::Null).await.json();
    assert_eq!(
        (&page["data"][0]["id"], page["data"].as_array().map(Vec::len)),
        (&rows[0]["id"], Some(1))
    );
    let next = page["next"].as_str().expect("there is more");
    assert!(
        next.starts_with("/clustering/data-planes?offset=") && next.ends_with("&size=1"),
        "{next}"
    );
    let page = cluster.call("GET", next, &Value::Null).await.json();
    assert_eq!((&page["data"][0]["id"], &page["next"]), (&rows[1]["id"], &Value::Null));

    let status = cluster.call("GET", "/clustering/status", &Value::Null).await;
    assert_eq!(status.header("deprecation"), Some("true"));
    for row in &rows {
        let of_node = &status.json()[row["id"].as_str().unwrap()];
        for column in ["config_hash", "hostname", "ip", "last_seen"] {
            assert_eq!(of_node[column], row[column], "{column}");
        }
    }
    drop(first);
}
