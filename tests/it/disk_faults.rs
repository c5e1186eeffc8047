//! Disks that are full, read-only or broken under nodes that run: writes are refused with the
//! reason, reads, status and traffic go on, the log says so once, and all is well when the disk is.

#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hybridctl::clock::Clock;
use hybridctl::planes::data::Data;
use hybridctl::settings::{Settings, Sources};
use rustix::process::{Pid, Resource, Rlimit};
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{Cluster, Directory, own_address, poll};
use crate::http::{self, Answer, Upstream};

const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EIO: i32 = 5;

/// A library that makes the disk of a process fail, and the file that says how.
struct Faults {
    library: PathBuf,
    file: PathBuf,
}

impl Faults {
    fn new(directory: &Directory) -> Self {
        let library = directory.path().join("faults.so");
        let source = directory.path().join("faults.c");
        std::fs::write(&source, include_str!("disk_faults.c")).unwrap();
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        assert!(compile.status().unwrap().success(), "the C compiler is needed");
        Self { library, file: directory.path().join("faults") }
    }

    /// Makes `what` (see the library) fail by an error below a path.
    fn set(&self, error: i32, what: &str, below: &Path) {
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, format!("{error} {what} {}\n", below.display())).unwrap();
        std::fs::rename(&fresh, &self.file).unwrap();
    }

    fn clear(&self) {
        std::fs::remove_file(&self.file).unwrap();
    }
}

/// A node in a process of its own, with its log in a file.
struct Node {
    child: Child,
    log: PathBuf,
}

impl Node {
    fn start(
        directory: &Directory,
        name: &str,
        faults: Option<&Faults>,
        env: &[(&str, &str)],
    ) -> Self {
        let log = directory.path().join(format!("log-{name}-{}", Clock::System.id()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command
            .arg("run")
            .env("KONG_PREFIX", directory.path().join(name))
            .envs(env.iter().copied());
        command.env("KONG_NGINX_WORKER_PROCESSES", "1");
        for name in ["PROXY_ERROR", "ADMIN_ERROR"] {
            command.env(format!("KONG_{name}_LOG"), "/dev/stderr");
        }
        if let Some(faults) = faults {
            command.env("LD_PRELOAD", &faults.library).env("FAULTS", &faults.file);
        }
        let child = command
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Starts a control plane that listens there.
    async fn control(
        directory: &Directory,
        faults: Option<&Faults>,
        pair: &(String, String),
        (admin, cluster): (SocketAddr, SocketAddr),
    ) -> Self {
        let (admin_text, cluster) = (admin.to_string(), cluster.to_string());
        let env = [
            ("KONG_ROLE", "control_plane"),
            ("KONG_CLUSTER_CERT", pair.0.as_str()),
            ("KONG_CLUSTER_CERT_KEY", pair.1.as_str()),
            ("KONG_CLUSTER_LISTEN", cluster.as_str()),
            ("KONG_STATUS_LISTEN", "off"),
            ("KONG_ADMIN_LISTEN", admin_text.as_str()),
        ];
        let node = Self::start(directory, "cp", faults, &env);
        node.until_up(admin, "/status").await;
        node
    }

    async fn until_up(&self, address: SocketAddr, path: &str) {
        let up = poll(async || http::get(address, path).await.ok()).await;
        assert!(up.is_some(), "the node does not answer: {}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Returns how many lines of the log hold a text.
    fn lines(&self, text: &str) -> usize {
        self.said().lines().filter(|line| line.contains(text)).count()
    }

    async fn until_said(&self, text: &str, count: usize) {
        let said = poll(async || (self.lines(text) >= count).then_some(())).await;
        assert!(said.is_some(), "{text:?} is not said {count} times: {}", self.said());
    }

    /// Sets a soft limit, and returns the one before.
    fn limit(&self, resource: Resource, current: Option<u64>) -> Option<u64> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let maximum = rustix::process::getrlimit(resource).maximum;
        rustix::process::prlimit(pid, resource, Rlimit { current, maximum }).unwrap().current
    }

    /// Leaves the process so many file descriptors that it does not use yet; returns the limit
    /// before.
    fn spare_files(&self, spare: u64) -> Option<u64> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        // The limit is about numbers: the highest one in use counts.
        let numbers = open.filter_map(|it| it.ok()?.file_name().to_str()?.parse::<u64>().ok());
        self.limit(Resource::Nofile, Some(numbers.max().unwrap() + 1 + spare))
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn send(admin: SocketAddr, method: &str, path: &str, body: serde_json::Value) -> Answer {
    let json = [("Content-Type", "application/json")];
    http::send(admin, method, path, &json, &body.to_string()).await.unwrap()
}

async fn write(admin: SocketAddr, name: &str) -> Answer {
    send(admin, "POST", "/consumers", json!({"username": name})).await
}

async fn consumers(admin: SocketAddr) -> usize {
    let answer = http::get(admin, "/consumers?size=1000").await.unwrap();
    answer.json()["data"].as_array().unwrap().len()
}

/// Starts a data plane of a control plane in this process.
async fn data(
    directory: &Directory,
    name: &str,
    pair: &(String, String),
    cluster: SocketAddr,
) -> Data {
    let env = [
        ("KONG_ROLE", "data_plane".to_owned()),
        ("KONG_DATABASE", "off".to_owned()),
        ("KONG_CLUSTER_CERT", pair.0.clone()),
        ("KONG_CLUSTER_CERT_KEY", pair.1.clone()),
        ("KONG_CLUSTER_CONTROL_PLANE", cluster.to_string()),
        ("KONG_PROXY_LISTEN", "127.0.0.1:0".to_owned()),
        ("KONG_STATUS_LISTEN", "off".to_owned()),
        ("KONG_NGINX_WORKER_PROCESSES", "1".to_owned()),
        ("KONG_PROXY_ACCESS_LOG", "off".to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    let prefix = directory.path().join(name).display().to_string();
    let mut settings = Settings::load(&Sources { conf: None, env, prefix: Some(prefix) }).unwrap();
    settings.prepare().unwrap();
    Data::start(&settings, Clock::System).await.unwrap()
}

async fn served(proxy: SocketAddr, path: &str) {
    let served = poll(async || {
        let answer = http::get(proxy, path).await.ok()?;
        (answer.status == 200).then_some(())
    });
    assert!(served.await.is_some(), "{path} is not served");
}

async fn route(admin: SocketAddr, name: &str, upstream: &Upstream) {
    let service = json!({"url": format!("http://{}", upstream.address)});
    assert_eq!(send(admin, "PUT", &format!("/services/{name}"), service).await.status, 200);
    let route = json!({"paths": [format!("/{name}")], "service": {"name": name}});
    assert_eq!(send(admin, "PUT", &format!("/routes/{name}"), route).await.status, 200);
}

const REFUSED: &str = "the event log cannot be written";
const OVER: &str = "the event log can be read and written again";

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_under_sqlite_costs_writes_and_nothing_else() {
    let directory = Directory::new();
    let faults = Faults::new(&directory);
    let pair = directory.pair("cluster");
    let (admin, cluster) = (own_address(), own_address());
    let upstream = Upstream::start("blue").await;
    let control = Node::control(&directory, Some(&faults), &pair, (admin, cluster)).await;
    route(admin, "a", &upstream).await;
    let old = data(&directory, "old", &pair, cluster).await;
    served(old.proxy[0], "/a").await;

    let prefix = directory.path().join("cp/");
    // What the first write runs into, and what is found when the database is opened again.
    let cases: [(i32, &str, &[&str]); 5] = [
        (ENOSPC, "w", &["no space left on device"]),
        (EIO, "w", &["input/output error of its disk"]),
        (EIO, "s", &["input/output error of its disk"]),
        (ENOSPC, "s", &["input/output error of its disk"]),
        (EROFS, "wo", &["input/output error of its disk", "the database is read-only"]),
    ];
    let (mut acknowledged, mut told) = (0, 0);
    for (number, (error, what, texts)) in cases.into_iter().enumerate() {
        let name = |part: &str| format!("{part}-{number}");
        assert_eq!(write(admin, &name("before")).await.status, 201);
        acknowledged += 1;
        faults.set(error, what, &prefix);
        for attempt in 0..3 {
            let refused = write(admin, &name(&format!("refused-{attempt}"))).await;
            assert_eq!(refused.status, 503, "{error} {what}: {}", refused.body);
            let text = texts[usize::from(attempt > 0).min(texts.len() - 1)];
            assert!(refused.body.contains(text), "{error} {what}: {}", refused.body);
        }
        // A refusal would be an answer about a log that nobody knows the end of.
        assert_eq!(write(admin, &name("before")).await.status, 503);
        assert_eq!(consumers(admin).await, acknowledged);
        let status = http::get(admin, "/status").await.unwrap();
        assert_eq!((status.status, &status.json()["database"]["reachable"]), (200, &json!(true)));
        served(old.proxy[0], "/a").await;
        let new = data(&directory, &name("new"), &pair, cluster).await;
        served(new.proxy[0], "/a").await;
        new.stop().await;
        told += texts.len();
        assert_eq!(control.lines(REFUSED), told, "{}", control.said());
        assert_eq!(control.lines("cannot use the event log"), 0, "{}", control.said());

        faults.clear();
        // Nobody writes: it finds out alone.
        control.until_said(OVER, number + 1).await;
        assert_eq!(consumers(admin).await, acknowledged, "nothing that was refused shows up");
    }
    assert_eq!(write(admin, "after").await.status, 201);
    acknowledged += 1;

    // Nobody can tell what a disk has that failed to say so: there is one event more, or not.
    faults.set(EIO, "s", &prefix);
    let doubtful = write(admin, "doubtful").await;
    assert!(doubtful.body.contains("not known yet"), "{}", doubtful.body);
    control.kill();
    faults.clear();
    let control = Node::control(&directory, Some(&faults), &pair, (admin, cluster)).await;
    let kept = consumers(admin).await;
    assert!(kept == acknowledged || kept == acknowledged + 1, "{kept} of {acknowledged}");
    assert_eq!(write(admin, "last").await.status, 201);
    served(old.proxy[0], "/a").await;
    control.kill();
    old.stop().await;
    let verified = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
        .args(["log", "verify", "-p"])
        .arg(&prefix)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_starts_on_a_disk_that_is_read_only_and_serves() {
    let directory = Directory::new();
    let faults = Faults::new(&directory);
    let pair = directory.pair("cluster");
    let (admin, cluster) = (own_address(), own_address());
    let upstream = Upstream::start("blue").await;
    let control = Node::control(&directory, Some(&faults), &pair, (admin, cluster)).await;
    route(admin, "a", &upstream).await;
    control.kill();

    faults.set(EROFS, "wo", &directory.path().join("cp/"));
    let control = Node::control(&directory, Some(&faults), &pair, (admin, cluster)).await;
    assert_eq!(http::get(admin, "/routes/a").await.unwrap().status, 200);
    for name in ["x", "y"] {
        let refused = write(admin, name).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.body.contains("the database is read-only"), "{}", refused.body);
    }
    let data = data(&directory, "dp", &pair, cluster).await;
    served(data.proxy[0], "/a").await;
    faults.clear();
    control.until_said(OVER, 1).await;
    assert_eq!(control.lines(REFUSED), 1, "{}", control.said());
    for name in ["x", "y"] {
        assert_eq!(write(admin, name).await.status, 201);
    }
    route(admin, "b", &upstream).await;
    served(data.proxy[0], "/b").await;
    data.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_file_takes_a_byte_not_even_the_log_the_node_goes_on() {
    let directory = Directory::new();
    let pair = directory.pair("cluster");
    let (admin, cluster) = (own_address(), own_address());
    let upstream = Upstream::start("blue").await;
    let control = Node::control(&directory, None, &pair, (admin, cluster)).await;
    route(admin, "a", &upstream).await;
    let data = data(&directory, "dp", &pair, cluster).await;

    let before = control.limit(Resource::Fsize, Some(0));
    for name in ["x", "y"] {
        let refused = write(admin, name).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
    }
    assert_eq!(http::get(admin, "/routes/a").await.unwrap().status, 200);
    served(data.proxy[0], "/a").await;
    assert_eq!(control.lines(REFUSED), 0, "the log is full too");

    control.limit(Resource::Fsize, before);
    control.until_said(OVER, 1).await;
    assert_eq!(consumers(admin).await, 0);
    assert_eq!(write(admin, "x").await.status, 201);
    data.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_whose_prefix_takes_no_writes_serves_from_memory() {
    let mut cluster = Cluster::without_data().await;
    let faults = Faults::new(&cluster.directory);
    let upstream = Upstream::start("blue").await;
    cluster.route("a", "/a", &upstream).await;
    let proxy = own_address();
    let link = cluster.control.as_ref().unwrap().cluster[0].to_string();
    let listen = format!("{proxy}, 127.0.0.1:0 ssl");
    let env = cluster.env_with_certificate(Vec::new());
    let env: Vec<_> = [
        ("KONG_ROLE", "data_plane"),
        ("KONG_DATABASE", "off"),
        ("KONG_CLUSTER_CONTROL_PLANE", link.as_str()),
        ("KONG_PROXY_LISTEN", listen.as_str()),
        ("KONG_STATUS_LISTEN", "off"),
    ]
    .into_iter()
    .chain(env.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    .collect();
    let (failed, over) =
        ("unable to write config cache file", "config cache file is written again");

    // With nothing at all in its prefix.
    faults.set(EROFS, "wo", &cluster.directory.path().join("bare/"));
    let bare = Node::start(&cluster.directory, "bare", Some(&faults), &env);
    served(proxy, "/a").await;
    bare.kill();
    faults.clear();

    let first = Node::start(&cluster.directory, "dp", Some(&faults), &env);
    served(proxy, "/a").await;
    first.kill();
    faults.set(EROFS, "wo", &cluster.directory.path().join("dp/"));
    let node = Node::start(&cluster.directory, "dp", Some(&faults), &env);
    for name in ["b", "c"] {
        cluster.route(name, &format!("/{name}"), &upstream).await;
        served(proxy, &format!("/{name}")).await;
    }
    node.until_said(failed, 1).await;
    faults.set(ENOSPC, "w", &cluster.directory.path().join("dp/"));
    cluster.route("d", "/d", &upstream).await;
    served(proxy, "/d").await;
    assert_eq!((node.lines(failed), node.lines(over)), (1, 0), "{}", node.said());

    faults.clear();
    cluster.route("e", "/e", &upstream).await;
    node.until_said(over, 1).await;
    node.kill();
    cluster.stop_control().await;
    let node = Node::start(&cluster.directory, "dp", None, &env);
    // What was served before is in it, whatever of the last change is.
    served(proxy, "/d").await;
    assert_eq!(node.lines("found cached config"), 1, "{}", node.said());
}

/// Connects until a node says that it can accept no more, and returns the connections.
async fn exhaust(node: &Node, address: SocketAddr, text: &str) -> Vec<TcpStream> {
    let mut open = Vec::new();
    let said = poll(async || {
        open.push(TcpStream::connect(address).await.unwrap());
        (node.lines(text) > 0).then_some(())
    });
    assert!(said.await.is_some(), "{text:?} is not said: {}", node.said());
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn without_file_descriptors_listeners_wait_and_go_on() {
    let directory = Directory::new();
    let (admin, proxy) = (own_address(), own_address());
    let (admin_text, proxy_text) = (admin.to_string(), proxy.to_string());
    let env = [
        ("KONG_DATABASE", "off"),
        ("KONG_ADMIN_LISTEN", admin_text.as_str()),
        ("KONG_PROXY_LISTEN", proxy_text.as_str()),
        ("KONG_STATUS_LISTEN", "off"),
    ];
    let node = Node::start(&directory, "node", None, &env);
    node.until_up(admin, "/status").await;
    node.until_up(proxy, "/").await;

    let before = node.spare_files(2);
    let texts = ["cannot accept admin connections", "cannot accept connections"];
    let mut waiting = exhaust(&node, admin, texts[0]).await;
    let mut others = exhaust(&node, proxy, texts[1]).await;
    assert_eq!(texts.map(|text| node.lines(text)), [1, 1], "{}", node.said());
    node.limit(Resource::Nofile, before);
    // The last ones were not accepted while there was no room.
    for (open, address, path) in [(&mut waiting, admin, "/status"), (&mut others, proxy, "/")] {
        let last = open.pop().unwrap();
        let answer = http::send_over(last, address, "GET", path, &[], "").await.unwrap();
        assert!([200, 404].contains(&answer.status), "{}", answer.body);
    }
    assert_eq!(texts.map(|text| node.lines(text)), [1, 1], "{}", node.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_file_descriptors_data_planes_wait_and_are_served_later() {
    let directory = Directory::new();
    let pair = directory.pair("cluster");
    let (admin, cluster) = (own_address(), own_address());
    let upstream = Upstream::start("blue").await;
    let control = Node::control(&directory, None, &pair, (admin, cluster)).await;
    route(admin, "a", &upstream).await;
    let before = control.spare_files(1);
    let text = "[clustering] cannot accept connections";
    let waiting = exhaust(&control, cluster, text).await;
    let data = data(&directory, "dp", &pair, cluster).await;
    assert_eq!(control.lines(text), 1, "{}", control.said());
    control.limit(Resource::Nofile, before);
    drop(waiting);
    served(data.proxy[0], "/a").await;
    route(admin, "b", &upstream).await;
    served(data.proxy[0], "/b").await;
    data.stop().await;
}
