//! Data planes whose control plane is gone, as processes that are stopped, killed and started; what
//! one plane in this process can show of it is in `disconnected.rs`.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::node::Site;
use crate::harness::poll;
use crate::http::Upstream;

/// "In case the control plane stops working, the data plane will keep serving requests using cached
/// configurations. It does so while constantly trying to reestablish communication with the control
/// plane. Data Plane nodes can be restarted while in disconnected mode, and will load the last
/// configuration in the cache to start working. When the Control Plane is brought up again, the Data
/// Plane nodes will contact them and resume connected mode."
///
/// "A new Data Plane node can be provisioned during Control Plane downtime. This requires either
/// copying the config cache file (config.json.gz) from another Data Plane node, or using a declarative
/// configuration." Of two data planes one is ended gracefully and one killed, as is the control plane;
/// two more come by either way.
#[tokio::test(flavor = "multi_thread")]
async fn the_data_plane_will_keep_serving_requests_using_cached_configurations() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let site = Site::new();
    let control = site.control(&[]);
    control.route("/a", &blue).await;
    let one = site.data("dp1", &control, &[]);
    let two = site.data("dp2", &control, &[]);
    for node in [&one, &two] {
        node.serves("/a", "blue").await;
    }
    let cache = one.prefix().join("config.json.gz");
    let there = poll(async || std::fs::metadata(&cache).ok()).await;
    assert_eq!(there.unwrap().permissions().mode() & 0o777, 0o600, "\"can only be read by Kong\"");

    control.kill().await;
    for node in [&one, &two] {
        node.says(&["connection to control plane", "(retrying after"]).await;
    }
    one.does("quit -t 10");
    two.kill().await;
    for node in [&one, &two] {
        node.again();
        assert_eq!(node.get("/a").await, (200, "blue".to_owned()), "at once");
        node.says(&["found cached config, loading..."]).await;
    }

    std::fs::create_dir(site.path().join("copied")).unwrap();
    std::fs::copy(&cache, site.path().join("copied/config.json.gz")).unwrap();
    let copied = site.data("copied", &control, &[]);
    let url = format!("http://{}", green.address);
    let declared = json!({"_format_version": "3.0",
        "services": [{"name": "s", "url": url, "routes": [{"name": "r", "paths": ["/a"]}]}]});
    std::fs::write(site.path().join("kong.json"), declared.to_string()).unwrap();
    let declared = site.data("declared", &control, &[("KONG_DECLARATIVE_CONFIG", "kong.json")]);
    assert_eq!(copied.get("/a").await, (200, "blue".to_owned()));
    assert_eq!(declared.get("/a").await, (200, "green".to_owned()));

    control.again();
    for node in [&one, &two, &copied, &declared] {
        node.serves("/a", "blue").await;
    }
    control.route("/a", &green).await;
    for node in [&one, &two, &copied, &declared] {
        node.serves("/a", "green").await;
    }
    let rows = control.rows().await;
    assert_eq!(rows.len(), 4, "those that came back are those that were there: {rows:?}");
}

/// "First bring down the Control Plane, perform all required downtime processes, and only bring up
/// the Control Plane after verifying the success and correctness of the procedure." One that goes on
/// purpose leaves no error behind.
#[tokio::test(flavor = "multi_thread")]
async fn control_plane_updates_can_be_done_with_peace_of_mind() {
    let blue = Upstream::start("blue").await;
    let site = Site::new();
    let control = site.control(&[]);
    control.route("/a", &blue).await;
    let data = site.data("dp", &control, &[]);
    data.serves("/a", "blue").await;
    control.does("stop");
    data.says(&["connection to control plane", "(retrying after"]).await;
    assert_eq!(data.get("/a").await.0, 200);
    control.again();
    let gone = control.admin("DELETE", "/routes/r", &Value::Null).await;
    assert_eq!(gone.status, 204);
    let found = poll(async || (data.get("/a").await.0 == 404).then_some(())).await;
    assert!(found.is_some(), "{}", data.log());
    for node in [&control, &data] {
        let log = node.log();
        assert!(!log.contains("ERROR") && !log.contains("error while receiving frame"), "{log}");
    }
}
