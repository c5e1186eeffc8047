//! Certificates that change while the nodes run: real processes, the procedure of
//! docs/certificates.md, and what the logs say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::cluster_tls::{ask, not_after};
use crate::harness::{Directory, own_address, poll};
use crate::http::{self, Upstream};
use crate::openssl::{self, Authority, Key};

/// A node that runs as a process.
struct Node {
    prefix: PathBuf,
    env: Vec<(String, String)>,
}

impl Node {
    fn start(prefix: PathBuf, env: &[(&str, String)]) -> Self {
        let env = env.iter().map(|(name, value)| (format!("KONG_{name}"), value.clone()));
        let node = Self { prefix, env: env.collect() };
        let started = node.run("start");
        assert!(started.status.success(), "{started:?}");
        node
    }

    fn run(&self, verb: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.env_clear().env("KONG_PREFIX", &self.prefix).env("KONG_STATUS_LISTEN", "off");
        command.env("KONG_NGINX_WORKER_PROCESSES", "1").envs(self.env.iter().cloned());
        command.arg(verb).output().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.prefix.join("logs/error.log")).unwrap_or_default()
    }

    /// Returns how many lines of the log have all the parts of a text: `…` stands between them.
    fn count(&self, text: &str) -> usize {
        let has = |line: &&str| text.split(" … ").all(|part| line.contains(part));
        self.log().lines().filter(has).count()
    }

    /// Waits until the log has a text so many times.
    async fn says(&self, text: &str, times: usize) {
        let found = poll(async || (self.count(text) >= times).then_some(())).await;
        assert!(found.is_some(), "wanted {text:?} {times} times in\n{}", self.log());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.run("stop");
    }
}

fn control(directory: &Path, (admin, cluster): (SocketAddr, SocketAddr), tls: &Tls) -> Node {
    let mut env = vec![
        ("ROLE", "control_plane".to_owned()),
        ("ADMIN_LISTEN", admin.to_string()),
        ("CLUSTER_LISTEN", cluster.to_string()),
    ];
    env.extend(tls.env("cp"));
    Node::start(directory.join("cp"), &env)
}

fn plane(directory: &Path, name: &str, addresses: (SocketAddr, SocketAddr), tls: &Tls) -> Node {
    let (proxy, cluster) = addresses;
    let mut env = vec![
        ("ROLE", "data_plane".to_owned()),
        ("DATABASE", "off".to_owned()),
        ("PROXY_LISTEN", proxy.to_string()),
        ("CLUSTER_CONTROL_PLANE", cluster.to_string()),
    ];
    env.extend(tls.env(name));
    Node::start(directory.join(name), &env)
}

/// Where the nodes have their certificates: `<node>-own.crt`, `<node>-own.key` and `trusted.crt`.
struct Tls {
    directory: PathBuf,
    is_pki: bool,
}

impl Tls {
    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn env(&self, node: &str) -> Vec<(&'static str, String)> {
        let trusted = if self.is_pki { "CLUSTER_CA_CERT" } else { "CLUSTER_TRUSTED_CERT" };
        let mut env = vec![
            ("CLUSTER_CERT", self.path(&format!("{node}-own.crt"))),
            ("CLUSTER_CERT_KEY", self.path(&format!("{node}-own.key"))),
            (trusted, self.path("trusted.crt")),
        ];
        if self.is_pki {
            env.push(("CLUSTER_MTLS", "pki".to_owned()));
            env.push(("CLUSTER_SERVER_NAME", "cp.kong.test".to_owned()));
        }
        env
    }

    /// Puts a pair in its place, the certificate first.
    fn put(&self, node: &str, (certificate, key): &(String, String)) {
        std::fs::copy(certificate, self.path(&format!("{node}-own.crt"))).unwrap();
        std::fs::copy(key, self.path(&format!("{node}-own.key"))).unwrap();
    }

    /// Puts these certificates into the file of the trusted ones.
    fn trust(&self, certificates: &[&str]) {
        let texts: Vec<_> =
            certificates.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        std::fs::write(self.path("trusted.crt"), texts.concat()).unwrap();
    }
}

async fn rows(admin: SocketAddr) -> Vec<Value> {
    let page = http::get(admin, "/clustering/data-planes").await.unwrap().json();
    page["data"].as_array().cloned().unwrap_or_default()
}

async fn put(admin: SocketAddr, path: &str, body: &Value) {
    let json = [("Content-Type", "application/json")];
    let answer = http::send(admin, "PUT", path, &json, &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Looks at the rows and asks the data planes, all the time, and counts what is not as it should be.
struct Observer {
    stop: Arc<AtomicBool>,
    looked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Observer {
    fn start(admin: SocketAddr, proxies: [SocketAddr; 2]) -> Self {
        let (stop, looked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (stop.clone(), looked.clone());
        let task = tokio::spawn(async move {
            let mut wrong = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let rows = rows(admin).await;
                if rows.len() != 2 || rows.iter().any(|row| row["connected"] != true) {
                    wrong.push(format!("{rows:?}"));
                }
                for proxy in proxies {
                    let answer = http::get(proxy, "/one").await;
                    if !answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                        wrong.push(format!("{answer:?}"));
                    }
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            wrong
        });
        Self { stop, looked, task }
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let wrong = self.task.await.unwrap();
        assert_eq!(wrong, [""; 0], "of {} looks", self.looked.load(Ordering::Relaxed));
        assert!(self.looked.load(Ordering::Relaxed) > 10);
    }
}

const READ_AGAIN: &str = "certificates read again";

/// What is trusted, and the pairs of the three nodes.
struct Generation {
    trusted: String,
    pairs: [(String, String); 3],
}

const NODES: [&str; 3] = ["cp", "dp1", "dp2"];

/// The procedure: trust old and new, replace the pairs, trust the new alone.
async fn rotate(directory: &Path, is_pki: bool, old: &Generation, new: &Generation) {
    let tls = Tls { directory: directory.to_owned(), is_pki };
    tls.trust(&[&old.trusted]);
    NODES.iter().zip(&old.pairs).for_each(|(node, pair)| tls.put(node, pair));
    let (admin, cluster, proxies) = (own_address(), own_address(), [own_address(), own_address()]);
    let control = control(directory, (admin, cluster), &tls);
    let planes = [
        plane(directory, "dp1", (proxies[0], cluster), &tls),
        plane(directory, "dp2", (proxies[1], cluster), &tls),
    ];
    let upstream = Upstream::start("one").await;
    let url = format!("http://{}", upstream.address);
    put(admin, "/services/one", &json!({"url": url})).await;
    put(admin, "/routes/one", &json!({"paths": ["/one"], "service": {"name": "one"}})).await;
    for proxy in proxies {
        let served = poll(async || {
            http::get(proxy, "/one").await.ok().filter(|answer| answer.status == 200)
        });
        assert!(served.await.is_some(), "{}\n{}", control.log(), planes[0].log());
    }
    let observer = Observer::start(admin, proxies);

    tls.trust(&[&old.trusted, &new.trusted]);
    for node in [&control, &planes[0], &planes[1]] {
        // The files would be noticed by themselves as well.
        assert!(node.run("reload").status.success());
        node.says(READ_AGAIN, 1).await;
    }
    for (node, pair) in NODES.iter().zip(&new.pairs) {
        tls.put(node, pair);
    }
    for node in [&control, &planes[0], &planes[1]] {
        node.says(READ_AGAIN, 2).await;
    }
    let expected = [not_after(&new.pairs[1].0), not_after(&new.pairs[2].0)];
    let renewed = poll(async || {
        let ends: Vec<_> = rows(admin)
            .await
            .iter()
            .filter_map(|row| row["cert_details"]["expiry_timestamp"].as_i64())
            .collect();
        ends.iter().all(|end| expected.contains(end)).then_some(())
    });
    assert!(renewed.await.is_some(), "{}\n{}", rows(admin).await.len(), planes[0].log());

    // The old pair still gets in, and no longer once it is not trusted.
    assert!(ask(cluster, Some(&old.pairs[1])).await.starts_with("HTTP/1.1 404 "));
    tls.trust(&[&new.trusted]);
    for node in [&control, &planes[0], &planes[1]] {
        node.says(READ_AGAIN, 3).await;
    }
    let refused = ask(cluster, Some(&old.pairs[1])).await;
    assert!(!refused.starts_with("HTTP/1.1 404 "), "{refused}");
    assert!(ask(cluster, Some(&new.pairs[1])).await.starts_with("HTTP/1.1 404 "));

    observer.finish().await;
    for node in &planes {
        assert_eq!(node.count(" broken: "), 0, "{}", node.log());
        assert_eq!(node.count("cannot"), 0, "{}", node.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_pair_is_rotated_without_losing_a_data_plane() {
    let directory = Directory::new();
    let path = directory.path();
    let generation = |name: &str| {
        let pair = openssl::shared(path, name, Key::Ec);
        Generation { trusted: pair.0.clone(), pairs: [pair.clone(), pair.clone(), pair] }
    };
    rotate(path, false, &generation("old"), &generation("new")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_rotated_without_losing_a_data_plane() {
    let directory = Directory::new();
    let path = directory.path();
    let generation = |name: &str, days| {
        let ca = Authority::root(path, name, Key::Ec);
        let server = "subjectAltName=DNS:cp.kong.test\nextendedKeyUsage=serverAuth\n";
        let client = "extendedKeyUsage=clientAuth\n";
        let issue = |node: &str, extensions| {
            ca.issue(&format!("{name}-{node}"), node, Key::Ec, extensions, days)
        };
        let pairs = [issue("cp", server), issue("dp1", client), issue("dp2", client)];
        Generation { trusted: ca.file(), pairs }
    };
    rotate(path, true, &generation("old", 40), &generation("new", 50)).await;
}

/// Bad files change nothing, and one line says so; who is refused is logged in Kong's words.
#[tokio::test(flavor = "multi_thread")]
async fn bad_files_and_refused_peers_are_logged_once() {
    let directory = Directory::new();
    let path = directory.path();
    let tls = Tls { directory: path.to_owned(), is_pki: false };
    let own = openssl::shared(path, "first", Key::Ec);
    let other = openssl::shared(path, "second", Key::Ec);
    tls.put("cp", &own);
    tls.put("dp", &own);
    tls.trust(&[&own.0]);
    let (admin, cluster) = (own_address(), own_address());
    let control = control(path, (admin, cluster), &tls);
    let plane = plane(path, "dp", (own_address(), cluster), &tls);
    control.says("data plane connected", 1).await;

    // A certificate without its key: the reload is the operator's, so it is said at once.
    std::fs::copy(&other.0, tls.path("cp-own.crt")).unwrap();
    assert!(control.run("reload").status.success());
    let stays = "new certificates cannot be used, the old ones stay";
    control.says(stays, 1).await;
    control.says("key: does not belong to the certificate", 1).await;
    assert!(ask(cluster, Some(&own)).await.starts_with("HTTP/1.1 404 "), "the old one is in force");

    // Garbage is refused by `reload` itself, and by the node that finds it.
    std::fs::write(tls.path("cp-own.crt"), "garbage").unwrap();
    assert!(!control.run("reload").status.success());
    control.says(stays, 2).await;
    assert!(ask(cluster, Some(&own)).await.starts_with("HTTP/1.1 404 "));
    tls.put("cp", &other);
    control.says(READ_AGAIN, 1).await;
    assert!(ask(cluster, Some(&other)).await.starts_with("HTTP/1.1 404 "));
    assert_eq!(control.count(stays), 2, "{}", control.log());

    assert_eq!(ask(cluster, None).await, "");
    control
        .says(
            "ERROR … [clustering] data plane failed to present client certificate during handshake",
            1,
        )
        .await;
    let stranger = openssl::shared(path, "stranger", Key::Rsa);
    assert_eq!(ask(cluster, Some(&stranger)).await, "");
    control
        .says(
            "ERROR … [clustering] data plane presented incorrect client certificate during handshake \
             (digest does not match the control plane certificate)",
            1,
        )
        .await;

    // A data plane that was given its new certificate too early keeps its connection.
    tls.put("dp", &stranger);
    let stays = "cannot connect with the new certificate, the connection stays: ssl handshake \
                 failed: 18: self-signed certificate (it is neither cluster_cert nor in \
                 cluster_trusted_cert)";
    plane.says(stays, 1).await;
    assert_eq!(rows(admin).await[0]["connected"], true);
    assert_eq!(control.count("data plane disconnected"), 0, "{}", control.log());
}

/// Both sides say that their own certificate runs out, the control plane also whose else does.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_run_out_are_named_in_the_log() {
    let directory = Directory::new();
    let path = directory.path();
    let tls = Tls { directory: path.to_owned(), is_pki: true };
    let ca = Authority::root(path, "root", Key::Ec);
    tls.trust(&[&ca.file()]);
    tls.put("cp", &ca.issue("cp", "cp.kong.test", Key::Ec, "", 20));
    tls.put("dp", &ca.issue("dp", "dp", Key::Ec, "", 6));
    let (admin, cluster) = (own_address(), own_address());
    let nobody = own_address();
    let lonely = plane(path, "dp", (own_address(), nobody), &tls);
    lonely.says("WARN … [clustering] this node's cluster_cert expires in 5 days, at ", 1).await;
    let connection = format!("connection to control plane wss://{nobody}/v1/");
    lonely.says(&connection, 1).await;
    let broken = format!(
        "broken: failed to connect: connection refused (retrying after … seconds) [{nobody}]"
    );
    lonely.says(&broken, 1).await;
    drop(lonely);

    let control = control(path, (admin, cluster), &tls);
    control.says("WARN … [clustering] this node's cluster_cert expires in 19 days, at ", 1).await;
    let _plane = plane(path, "dp", (own_address(), cluster), &tls);
    control.says("WARN … [clustering] certificate of data plane expires in 5 days, at ", 1).await;
}
