//! Another process in the place of a node, under load: no request fails, and the way back is the same.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{Cluster, own_address, poll};
use crate::http::{self, Upstream};

/// How many clients ask, each over and over.
const CLIENTS: usize = 8;

/// How many requests are answered between two commands, unless `UPGRADE_REQUESTS` says otherwise.
const REQUESTS: usize = 500;

/// A data plane as a process of its own.
pub(crate) struct Node {
    env: Vec<(String, String)>,
    pub(crate) proxy: SocketAddr,
    pub(crate) status: SocketAddr,
}

impl Node {
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::start_as_data_plane(cluster, &[]).await
    }

    pub(crate) async fn start_as_data_plane(cluster: &Cluster, more: &[(&str, String)]) -> Self {
        let control = cluster.control.as_ref().unwrap().cluster[0];
        let own = [
            ("KONG_ROLE", "data_plane".to_owned()),
            ("KONG_DATABASE", "off".to_owned()),
            ("KONG_CLUSTER_CONTROL_PLANE", control.to_string()),
        ];
        Self::start_with(cluster, &[&own, more].concat()).await
    }

    async fn start_with(cluster: &Cluster, own: &[(&str, String)]) -> Self {
        let (proxy, status) = (own_address(), own_address());
        let env = [
            ("KONG_PREFIX", cluster.prefix("process").display().to_string()),
            ("KONG_PROXY_LISTEN", proxy.to_string()),
            ("KONG_STATUS_LISTEN", status.to_string()),
            ("KONG_NGINX_WORKER_PROCESSES", "2".to_owned()),
            ("KONG_PROXY_ACCESS_LOG", "off".to_owned()),
        ];
        let env = env.iter().chain(own).map(|(name, value)| ((*name).to_owned(), value.clone()));
        let env = env.collect();
        let node = Self { env: cluster.env_with_certificate(env), proxy, status };
        node.run("start", &[]).await.says("Kong started\n");
        node
    }

    pub(crate) async fn run(&self, line: &str, more: &[(&str, &str)]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.env_clear().envs(self.env.iter().cloned()).envs(more.iter().copied());
        command.args(line.split_whitespace());
        Said(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.read("pids/nginx.pid").trim().parse().unwrap()
    }

    fn debug_token(&self) -> String {
        self.read(".request_debug_token")
    }

    /// Returns what stands in a file of the prefix.
    fn read(&self, file: &str) -> String {
        let prefix = &self.env.iter().find(|(name, _)| name == "KONG_PREFIX").unwrap().1;
        std::fs::read_to_string(Path::new(prefix).join(file)).unwrap()
    }

    async fn requests(&self) -> u64 {
        let status = http::get(self.status, "/status").await.unwrap().json();
        status["server"]["total_requests"].as_u64().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        let _ = command.env_clear().envs(self.env.iter().cloned()).arg("stop").output();
    }
}

pub(crate) struct Said(Output);

impl Said {
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        let out = String::from_utf8_lossy(&self.0.stdout);
        assert!(self.0.status.success() && out == text, "{:?}", self.0);
    }
}

pub(crate) async fn ended(pid: u32) {
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    // One that nobody has waited for yet is a zombie.
    let over = || state().is_none_or(|it| it.rsplit(") ").next().unwrap().starts_with('Z'));
    assert!(poll(async || over().then_some(())).await.is_some(), "process {pid} goes on");
}

/// Clients that ask over connections that they keep for as long as they are let.
struct Load {
    answered: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    clients: JoinSet<std::io::Result<()>>,
}

impl Load {
    fn start(proxy: SocketAddr) -> Self {
        let (answered, enough) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (answered, enough) = (answered.clone(), enough.clone());
            clients.spawn(async move {
                // Every other client makes a connection for each request.
                let keeps = number % 2 == 0;
                let mut kept = None;
                while !enough.load(Ordering::Relaxed) {
                    let mut stream = match kept.take() {
                        Some(stream) => stream,
                        None => BufReader::new(TcpStream::connect(proxy).await?),
                    };
                    if ask(&mut stream).await? && keeps {
                        kept = Some(stream);
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self { answered, enough, clients }
    }

    /// Waits until so many more requests are answered, or one has failed.
    async fn more(&self) {
        let wanted = std::env::var("UPGRADE_REQUESTS").ok().and_then(|it| it.parse().ok());
        let goal = self.answered.load(Ordering::Relaxed) + wanted.unwrap_or(REQUESTS);
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
        while self.answered.load(Ordering::Relaxed) < goal && self.clients.len() == CLIENTS {
            ticks.tick().await;
        }
    }

    /// Ends it; returns how many requests were answered.
    async fn finish(mut self) -> usize {
        self.enough.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap().unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
}

/// Sends a request and reads its answer; returns whether the connection may be used again.
async fn ask(stream: &mut BufReader<TcpStream>) -> std::io::Result<bool> {
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let (mut length, mut keeps, mut line) = (0, true, String::new());
    stream.read_line(&mut line).await?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(std::io::Error::other(format!("the answer begins with {line:?}")));
    }
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(std::io::Error::other)?,
            "connection" => keeps = value != "close",
            _ => {}
        }
    }
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(keeps)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_another_process_takes_over_and_on_the_way_back() {
    let cluster = Cluster::without_data().await;
    let upstream = Upstream::start("a").await;
    cluster.route("a", "/a", &upstream).await;
    let node = Node::start(&cluster).await;
    let served =
        poll(async || http::get(node.proxy, "/a").await.ok().filter(|answer| answer.status == 200));
    assert!(served.await.is_some());
    let load = Load::start(node.proxy);
    for _ in ["there", "back"] {
        load.more().await;
        let (pid, requests) = (node.pid(), node.requests().await);
        node.run("upgrade", &[]).await.says("Kong upgraded\n");
        assert_ne!(node.pid(), pid);
        load.more().await;
        ended(pid).await;
        assert!(node.requests().await > requests, "what was counted goes on");
    }

    // What does not start changes nothing: somebody else listens there.
    let (pid, token) = (node.pid(), node.debug_token());
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let said = node.run("upgrade", &[("KONG_STATUS_LISTEN", &taken)]).await;
    let error = String::from_utf8_lossy(&said.0.stderr).into_owned();
    assert!(error.contains(&format!("cannot listen on {taken}")), "{error}");
    assert_eq!(node.pid(), pid);
    assert_eq!(node.debug_token(), token, "the file tells the token of who serves");
    load.more().await;
    node.run("reload", &[]).await.says("Kong reloaded\n");
    load.more().await;
    node.requests().await;
    // It can still be followed by one that does.
    node.run("upgrade", &[]).await.says("Kong upgraded\n");
    load.more().await;
    assert!(load.finish().await >= REQUESTS);
    ended(pid).await;
    node.run("quit", &[]).await.says("Kong stopped (gracefully)\n");
}

/// Both halves in one process: the Admin API stays where it is, and the log goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_traditional_node_is_upgraded_with_its_admin_api() {
    let cluster = Cluster::without_data().await;
    let upstream = Upstream::start("a").await;
    let admin = own_address();
    let own = [("KONG_ADMIN_LISTEN", admin.to_string())];
    let node = Node::start_with(&cluster, &own).await;
    let put = async |path: &str, body: serde_json::Value| {
        let json = [("Content-Type", "application/json")];
        let answer = http::send(admin, "PUT", path, &json, &body.to_string()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let url = format!("http://{}", upstream.address);
    put("/services/a", json!({"url": url})).await;
    let pid = node.pid();
    node.run("upgrade", &[]).await.says("Kong upgraded\n");
    ended(pid).await;
    put("/services/a/routes/a", json!({"paths": ["/a"]})).await;
    let served =
        poll(async || http::get(node.proxy, "/a").await.ok().filter(|answer| answer.status == 200));
    assert!(served.await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_outlives_the_process_in_charge_until_the_deadline() {
    let cluster = Cluster::without_data().await;
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    cluster.put("/services/ws", json!({"url": url})).await;
    cluster.put("/services/ws/routes/ws", json!({"paths": ["/ws"]})).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = upstream.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let mut from = BufReader::new(&mut from);
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    from.read_line(&mut line).await.unwrap();
                }
                let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                              Connection: Upgrade\r\n\r\n";
                to.write_all(switch.as_bytes()).await.unwrap();
                tokio::io::copy_buf(&mut from, &mut to).await
            });
        }
    });
    let node = Node::start(&cluster).await;
    let open = async || {
        let mut stream = BufReader::new(TcpStream::connect(node.proxy).await.ok()?);
        let request = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let switched = line.starts_with("HTTP/1.1 101 ");
        while switched && line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.ok()?;
        }
        switched.then_some(stream)
    };
    let echo = async |stream: &mut BufReader<TcpStream>| {
        stream.write_all(b"ping\n").await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, "ping\n");
    };
    let mut stream = poll(open).await.unwrap();
    echo(&mut stream).await;

    let pid = node.pid();
    // Time enough for one more word on a machine that is busy.
    node.run("upgrade -t 3", &[]).await.says("Kong upgraded\n");
    echo(&mut stream).await;
    let mut new = open().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "it is cut off at the deadline");
    ended(pid).await;
    echo(&mut new).await;

    // The same goes for an end without a successor, whatever was promised to it.
    node.run("quit -t 1", &[]).await.says("Timeout, Kong stopped forcefully\n");
    assert_eq!(new.read(&mut [0; 8]).await.unwrap_or(0), 0);
}
