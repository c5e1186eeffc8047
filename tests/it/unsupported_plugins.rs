//! Plugins that are described but that nothing here can run: refused, or stored and answered for.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Cluster, Directory};
use crate::http::{self, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn an_enabled_plugin_without_a_handler_is_refused() {
    let cluster = Cluster::without_data().await;
    let lua = json!({"name": "pre-function", "config": {"access": ["return"]}});
    let refused = cluster.call("POST", "/plugins", &lua).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let error = refused.json();
    assert_eq!((&error["code"], &error["name"]), (&json!(2), &json!("schema violation")));
    let text = error["fields"]["name"].as_str().unwrap();
    assert!(text.starts_with("this version has no handler for plugin 'pre-function'"), "{text}");

    assert!(!is_available(&cluster).await, "what is refused is not offered");

    let disabled = json!({"name": "pre-function", "enabled": false, "config": lua["config"]});
    let stored = cluster.call("POST", "/plugins", &disabled).await;
    assert_eq!(stored.status, 201, "{}", stored.body);
    let path = format!("/plugins/{}", stored.json()["id"].as_str().unwrap());
    assert_eq!(cluster.call("PATCH", &path, &json!({"enabled": true})).await.status, 400);
    assert_eq!(cluster.call("PATCH", &path, &json!({"tags": ["later"]})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_plugin_without_a_handler_closes_its_route() {
    let upstream = Upstream::start("blue").await;
    let mut cluster = Cluster::without_data().await;
    cluster.stop_control().await;
    cluster.start_control_with(&[("KONG_UNSUPPORTED_PLUGINS", "store")]).await;
    // The data plane refuses what users tell it, but serves what its control plane has.
    cluster.start_data().await;
    cluster.route("a", "/a", &upstream).await;
    cluster.route("b", "/b", &upstream).await;
    let lua = json!({"name": "pre-function", "config": {"access": ["return"]}});
    let stored = cluster.call("POST", "/routes/a/plugins", &lua).await;
    assert_eq!(stored.status, 201, "{}", stored.body);
    assert!(is_available(&cluster).await);
    cluster.converge().await;

    let closed = http::get(cluster.proxy(), "/a").await.unwrap();
    assert_eq!(closed.status, 503);
    assert_eq!(closed.json()["message"], "a plugin of this route is not available");
    assert!(closed.json()["request_id"].is_string(), "{}", closed.body);
    let html =
        http::send(cluster.proxy(), "GET", "/a", &[("Accept", "text/html")], "").await.unwrap();
    assert_eq!((html.status, html.header("content-type")), (503, Some("text/html; charset=utf-8")));
    assert_eq!(http::get(cluster.proxy(), "/b").await.unwrap().status, 200);
    assert_eq!(http::get(cluster.proxy(), "/c").await.unwrap().status, 404);
    assert_eq!(upstream.requests(), 1);

    let path = format!("/plugins/{}", stored.json()["id"].as_str().unwrap());
    cluster.call("PATCH", &path, &json!({"enabled": false})).await;
    cluster.converge().await;
    assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().status, 200);
}

/// Returns whether the control plane offers Lua.
async fn is_available(cluster: &Cluster) -> bool {
    let about = cluster.call("GET", "/", &Value::Null).await.json();
    let available = &about["plugins"]["available_on_server"];
    assert!(available["key-auth"].is_object(), "{about}");
    available["pre-function"].is_object()
}

#[test]
fn a_file_is_imported_with_a_warning_when_asked_to_store() {
    let directory = Directory::new();
    let file = directory.path().join("kong.json");
    let lua = json!({"name": "post-function", "config": {"log": ["return"]}});
    std::fs::write(&file, json!({"_format_version": "3.0", "plugins": [lua]}).to_string()).unwrap();
    let import = |choice: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
            .args(["config", "db_import"])
            .arg(&file)
            .arg("-p")
            .arg(directory.path())
            .env("KONG_UNSUPPORTED_PLUGINS", choice)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = import("refuse");
    assert!(!done && said.contains("no handler for plugin 'post-function'"), "{said}");
    let (done, said) = import("store");
    assert!(done && said.contains("data planes answer 503"), "{said}");
}
