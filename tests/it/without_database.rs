//! A traditional node without a database: it serves a declared configuration, and whatever
//! `/config` replaces it by.

use std::net::SocketAddr;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::harness::{Directory, own_address, poll};
use crate::http::{self, Answer, Upstream};

/// A node that ends with this value.
pub(crate) struct Node {
    process: Child,
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) status: SocketAddr,
}

impl Node {
    /// Starts a node that is configured by a file.
    pub(crate) fn start(directory: &Directory, tree: &Value) -> Self {
        let file = directory.path().join("kong.json");
        std::fs::write(&file, tree.to_string()).unwrap();
        let [proxy, admin, status] = [(); 3].map(|()| own_address());
        let process = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
            .env_clear()
            .args(["run", "-p"])
            .arg(directory.path().join("prefix"))
            .env("KONG_DATABASE", "off")
            .env("KONG_DECLARATIVE_CONFIG", &file)
            .env("KONG_PROXY_LISTEN", proxy.to_string())
            .env("KONG_ADMIN_LISTEN", admin.to_string())
            .env("KONG_STATUS_LISTEN", status.to_string())
            .env("KONG_NGINX_WORKER_PROCESSES", "1")
            .spawn()
            .unwrap();
        Self { process, proxy, admin, status }
    }

    pub(crate) async fn until(&self, address: SocketAddr, path: &str, status: u16) -> Answer {
        let asked = poll(async || {
            http::get(address, path).await.ok().filter(|answer| answer.status == status)
        });
        asked.await.unwrap_or_else(|| panic!("{path} never answers {status}"))
    }

    async fn load(&self, tree: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        let path = "/config?check_hash=1";
        http::send(self.admin, "POST", path, &headers, &tree.to_string()).await.unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tree(upstream: &Upstream, path: &str) -> Value {
    json!({
        "_format_version": "3.0",
        "services": [{"name": "s", "host": "u.test", "routes": [{"name": "r", "paths": [path]}]}],
        "upstreams": [
            {"name": "u.test", "targets": [{"target": upstream.address.to_string()}]},
        ],
    })
}

#[tokio::test]
async fn a_node_serves_what_its_file_and_then_config_say() {
    let (directory, upstream) = (Directory::new(), Upstream::start("up").await);
    let node = Node::start(&directory, &tree(&upstream, "/declared"));
    // Whoever says that it is ready accepts connections.
    node.until(node.status, "/status/ready", 200).await;
    assert_eq!(http::get(node.proxy, "/declared").await.unwrap().status, 200);
    assert_eq!(http::get(node.admin, "/services/s").await.unwrap().status, 200);
    let root = http::get(node.admin, "/").await.unwrap().json();
    assert_eq!(root["configuration"]["database"], "off");
    let ready = http::get(node.status, "/status/ready").await.unwrap();
    assert_eq!((ready.status, ready.json()), (200, json!({"message": "ready"})));

    assert_eq!(node.load(&tree(&upstream, "/declared")).await.status, 304);
    let loaded = node.load(&tree(&upstream, "/loaded")).await;
    assert_eq!(loaded.status, 201, "{}", loaded.body);
    node.until(node.proxy, "/loaded", 200).await;
    assert_eq!(http::get(node.proxy, "/declared").await.unwrap().status, 404);
    for (address, name) in [(node.admin, "admin"), (node.status, "status")] {
        let status = http::get(address, "/status").await.unwrap().json();
        assert_eq!(status["configuration_hash"].as_str().unwrap().len(), 64, "{name}");
        assert_eq!(status.get("database"), None, "{name}");
        assert!(status["server"]["total_requests"].as_u64().unwrap() >= 4, "{name}: {status}");
    }

    let target = upstream.address;
    for (path, status) in [
        ("/upstreams/u.test/health".to_owned(), 200),
        ("/upstreams/u.test/targets".into(), 200),
        ("/upstreams/u.test/targets/all".into(), 200),
        (format!("/upstreams/u.test/targets/{target}"), 200),
        ("/upstreams/u.test".into(), 404),
        ("/upstreams/nope/targets".into(), 404),
        ("/services".into(), 404),
    ] {
        let answer = http::get(node.status, &path).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    let health = http::get(node.status, "/upstreams/u.test/health").await.unwrap().json();
    assert_eq!(health["data"][0]["target"], target.to_string());
    assert_eq!(health["node_id"], root["node_id"]);
    let posted = http::send(node.status, "POST", "/upstreams/u.test/targets", &[], "").await;
    assert_eq!(posted.unwrap().status, 405);
}
