//! A data plane alone, configured by a file, and an upstream that tells what reached it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hybridctl::clock::Clock;
use hybridctl::planes::data::Data;
use hybridctl::settings::{Settings, Sources};
use serde_json::{Value, json};

use crate::harness::Directory;
use crate::http::{self, Answer, Upstream};

/// A data plane that serves one route, `/r`, which it strips.
pub(crate) struct Edge {
    directory: Directory,
    pub(crate) upstream: Upstream,
    data: Data,
}

impl Edge {
    /// Starts one with more settings, and more of the configuration.
    pub(crate) async fn start(more: &[(&str, &str)], config: Value) -> Self {
        let (directory, upstream) = (Directory::new(), Upstream::start("up").await);
        let mut tree = json!({
            "_format_version": "3.0",
            "services": [{
                "name": "s",
                "url": format!("http://{}", upstream.address),
                "routes": [{"name": "r", "paths": ["/r"]}],
            }],
        });
        tree.as_object_mut().unwrap().extend(config.as_object().cloned().unwrap_or_default());
        let file = directory.path().join("kong.json");
        std::fs::write(&file, tree.to_string()).unwrap();
        let (certificate, key) = directory.pair("cluster");
        let file = file.display().to_string();
        let mut wanted = vec![
            ("KONG_ROLE", "data_plane"),
            ("KONG_DATABASE", "off"),
            ("KONG_CLUSTER_CONTROL_PLANE", "127.0.0.1:9"),
            ("KONG_CLUSTER_CERT", &certificate),
            ("KONG_CLUSTER_CERT_KEY", &key),
            ("KONG_DECLARATIVE_CONFIG", &file),
            ("KONG_PROXY_LISTEN", "127.0.0.1:0"),
            ("KONG_STATUS_LISTEN", "off"),
            ("KONG_NGINX_WORKER_PROCESSES", "1"),
            ("KONG_PROXY_ACCESS_LOG", "off"),
        ];
        wanted.extend_from_slice(more);
        let env: BTreeMap<String, String> =
            wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let prefix = Some(directory.path().join("dp").display().to_string());
        let mut settings = Settings::load(&Sources { conf: None, env, prefix }).unwrap();
        settings.prepare().unwrap();
        let data = Data::start(&settings, Clock::System).await.unwrap();
        Self { directory, upstream, data }
    }

    /// Returns where the listener of this number is.
    pub(crate) fn address(&self, listener: usize) -> SocketAddr {
        self.data.proxy[listener]
    }

    /// Returns where it keeps its files.
    pub(crate) fn prefix(&self) -> std::path::PathBuf {
        self.directory.path().join("dp")
    }

    /// Sends a request with these headers to the first listener.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        http::send(self.address(0), "GET", path, headers, "").await.unwrap()
    }

    /// Stops it, so that all is written that it has to say.
    pub(crate) async fn stop(self) -> Directory {
        self.data.stop().await;
        self.directory
    }
}
