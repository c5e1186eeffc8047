//! Both planes in this process: their prefixes, certificates and settings, and waiting for what
//! they do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use hybridctl::clock::Clock;
use hybridctl::pki::generate::cluster_pair;
use hybridctl::planes::control::Control;
use hybridctl::planes::data::Data;
use hybridctl::settings::{Settings, Sources};
use serde_json::{Value, json};

use crate::http::{self, Answer, Upstream};

/// How long anything that is waited for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often what is waited for is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A directory that goes with this value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("hybridctl-it-{}", Clock::System.id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a pair for the cluster link and returns the names of its files.
    pub(crate) fn pair(&self, name: &str) -> (String, String) {
        let pair = cluster_pair(30, &Clock::System).unwrap();
        let file = |extension: &str| self.0.join(format!("{name}.{extension}"));
        let (certificate, key) = (file("crt"), file("key"));
        std::fs::write(&certificate, &pair.certificate).unwrap();
        std::fs::write(&key, &pair.key).unwrap();
        (certificate.display().to_string(), key.display().to_string())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A control plane, a data plane, and where they live.
pub(crate) struct Cluster {
    pub(crate) directory: Directory,
    pub(crate) control: Option<Control>,
    pub(crate) data: Option<Data>,
    certificate: (String, String),
    /// More settings of the control plane.
    more: Vec<(String, String)>,
    /// Kept over restarts, so that data planes find the control plane again.
    cluster_port: u16,
}

impl Cluster {
    /// Starts both planes and waits until the data plane has heard of the control plane.
    pub(crate) async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// Starts both planes, the control plane with more settings.
    pub(crate) async fn start_with(more: Vec<(String, String)>) -> Self {
        let mut cluster = Self::without_data_with(more).await;
        cluster.start_data().await;
        cluster
    }

    /// Starts a control plane alone.
    pub(crate) async fn without_data() -> Self {
        Self::without_data_with(Vec::new()).await
    }

    /// Starts a control plane alone, with more settings.
    pub(crate) async fn without_data_with(more: Vec<(String, String)>) -> Self {
        let directory = Directory::new();
        let certificate = directory.pair("cluster");
        let cluster_port = own_address().port();
        let mut cluster =
            Self { directory, control: None, data: None, certificate, more, cluster_port };
        cluster.start_control().await;
        cluster
    }

    pub(crate) async fn start_control(&mut self) {
        let more = self.more.clone();
        let more: Vec<_> =
            more.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.start_control_with(&more).await;
    }

    /// Starts the control plane with more settings.
    pub(crate) async fn start_control_with(&mut self, more: &[(&str, &str)]) {
        let listen = format!("127.0.0.1:{}", self.cluster_port);
        let mut wanted = vec![
            ("KONG_ROLE", "control_plane"),
            ("KONG_ADMIN_LISTEN", "127.0.0.1:0"),
            ("KONG_STATUS_LISTEN", "off"),
            ("KONG_CLUSTER_LISTEN", listen.as_str()),
        ];
        wanted.extend_from_slice(more);
        let settings = self.settings("cp", &wanted);
        self.control = Some(Control::start(&settings, Clock::System).await.unwrap());
    }

    /// Returns settings of another control plane that trusts whom this one trusts.
    pub(crate) fn env_with_certificate(
        &self,
        mut env: Vec<(String, String)>,
    ) -> Vec<(String, String)> {
        env.push(("KONG_CLUSTER_CERT".to_owned(), self.certificate.0.clone()));
        env.push(("KONG_CLUSTER_CERT_KEY".to_owned(), self.certificate.1.clone()));
        env
    }

    pub(crate) async fn stop_control(&mut self) {
        if let Some(control) = self.control.take() {
            control.stop().await;
        }
    }

    pub(crate) async fn start_data(&mut self) {
        self.start_data_in("dp", &[]).await;
    }

    /// Starts a data plane in a prefix of this name, with more settings.
    pub(crate) async fn start_data_in(&mut self, name: &str, more: &[(&str, &str)]) {
        let control = format!("127.0.0.1:{}", self.cluster_port);
        let mut wanted = vec![
            ("KONG_ROLE", "data_plane"),
            ("KONG_DATABASE", "off"),
            ("KONG_CLUSTER_CONTROL_PLANE", control.as_str()),
            ("KONG_PROXY_LISTEN", "127.0.0.1:0"),
            ("KONG_STATUS_LISTEN", "127.0.0.1:0"),
            ("KONG_NGINX_WORKER_PROCESSES", "1"),
            ("KONG_PROXY_ACCESS_LOG", "off"),
        ];
        wanted.extend_from_slice(more);
        let settings = self.settings(name, &wanted);
        self.data = Some(Data::start(&settings, Clock::System).await.unwrap());
    }

    pub(crate) async fn stop_data(&mut self) {
        if let Some(data) = self.data.take() {
            data.stop().await;
        }
    }

    /// Returns settings for a node in a prefix of this name.
    pub(crate) fn settings(&self, name: &str, wanted: &[(&str, &str)]) -> Settings {
        let prefix = self.prefix(name).display().to_string();
        let mut env: BTreeMap<String, String> =
            wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let pair = [
            ("KONG_CLUSTER_CERT", &self.certificate.0),
            ("KONG_CLUSTER_CERT_KEY", &self.certificate.1),
        ];
        for (name, file) in pair {
            env.entry(name.to_owned()).or_insert_with(|| file.clone());
        }
        let mut settings =
            Settings::load(&Sources { conf: None, env, prefix: Some(prefix) }).unwrap();
        settings.prepare().unwrap();
        settings
    }

    pub(crate) fn prefix(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.control.as_ref().unwrap().admin[0]
    }

    pub(crate) fn proxy(&self) -> SocketAddr {
        self.data.as_ref().unwrap().proxy[0]
    }

    pub(crate) fn status(&self) -> SocketAddr {
        self.data.as_ref().unwrap().status[0]
    }

    /// Sends an Admin API request with a JSON body and returns the answer.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let json = [("Content-Type", "application/json")];
        let (headers, body) = match body {
            Value::Null => (&[][..], String::new()),
            body => (&json[..], body.to_string()),
        };
        http::send(self.admin(), method, path, headers, &body).await.unwrap()
    }

    /// Writes an entity and returns it.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Value {
        let answer = self.call("PUT", path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Makes a service for an upstream and a route to it.
    pub(crate) async fn route(&self, name: &str, path: &str, upstream: &Upstream) {
        let url = format!("http://{}", upstream.address);
        self.put(&format!("/services/{name}"), json!({"url": url})).await;
        let route = json!({"paths": [path], "service": {"name": name}});
        self.put(&format!("/routes/{name}"), route).await;
    }

    /// Asks the proxy, again and again, until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let mut last = None;
        let found = poll(async || {
            let answer = http::get(self.proxy(), path).await.ok();
            last.clone_from(&answer);
            answer.filter(&wanted)
        })
        .await;
        found.unwrap_or_else(|| {
            let link = self.data.as_ref().unwrap().last_link_error();
            panic!("{path}: the last answer was {last:?}, the link: {link:?}")
        })
    }

    /// Waits until the data plane runs the control plane's newest config.
    pub(crate) async fn converge(&self) {
        let wanted = self.control.as_ref().unwrap().writer.head().config_hash;
        let data = self.data.as_ref().unwrap();
        let done = poll(async || (data.config_hash() == wanted).then_some(())).await;
        assert!(done.is_some(), "the data plane stays at {}", data.config_hash().short());
    }
}

/// Ports below those that the system hands out for port 0.
const OWN_PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Returns an address for a process that must be found again where it was: nobody else gets it
/// while that process is not there, and nobody ever if there is none. A port that was 0 would be somebody
/// else's by then, now and then.
pub(crate) fn own_address() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let count = OWN_PORTS.end - OWN_PORTS.start;
    // Another run of the tests begins elsewhere.
    let start = (std::process::id() % 100) as u16 * (count / 100);
    let mut free = std::iter::from_fn(|| {
        let offset = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % count;
        Some(SocketAddr::from(([127, 0, 0, 1], OWN_PORTS.start + offset)))
    });
    let is_free = |address: &SocketAddr| std::net::TcpListener::bind(address).is_ok();
    free.find(is_free).unwrap()
}

/// Looks until something is there; nothing if it never is.
pub(crate) async fn poll<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    while Instant::now() < deadline {
        ticks.tick().await;
        if let Some(found) = look().await {
            return Some(found);
        }
    }
    None
}
