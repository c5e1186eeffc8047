//! Snapshots in a bucket end to end: published by the command, pulled by a data plane, and what is
//! said when the bucket does not play along.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::harness::{Cluster, Directory, PATIENCE, own_address, poll};

/// The keys that the store knows, and a token that it asks for with them.
const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG";
const TOKEN: &str = "session/token+of==a-role";

/// What the store holds and how it was used.
#[derive(Default)]
struct Store {
    /// By bucket and key.
    objects: BTreeMap<String, Vec<u8>>,
    /// Methods and keys, in order.
    asked: Vec<String>,
    now: usize,
    together: usize,
    /// How many puts are still told to come again.
    busy: usize,
    /// Whether a put waits until another one is under way.
    pairs: bool,
}

/// An S3-compatible store with one bucket, `conf`, in path style.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
    /// Told when two requests are under way.
    second: Arc<Notify>,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, store: Arc::default(), second: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        server
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "eu-test-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_SESSION_TOKEN", TOKEN.to_owned()),
        ]
    }

    async fn serve(self, mut stream: TcpStream) -> Option<()> {
        let mut buffer = Vec::new();
        loop {
            let request = read(&mut stream, &mut buffer).await?;
            let is_first = {
                let mut store = self.store.lock().unwrap();
                store.now += 1;
                store.together = store.together.max(store.now);
                if store.together == 2 {
                    self.second.notify_one();
                }
                store.asked.push(format!("{} {}", request.method, request.path));
                request.method == "PUT" && std::mem::take(&mut store.pairs)
            };
            // What is done at the same time is seen, however busy the machine is.
            if is_first {
                let _alone = timeout(PATIENCE, self.second.notified()).await;
            }
            let (status, body) = self.answer(&request);
            self.store.lock().unwrap().now -= 1;
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"e\"\r\n\
                 Last-Modified: Wed, 25 Nov 2026 00:00:00 GMT\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.ok()?;
            if request.method != "HEAD" {
                stream.write_all(&body).await.ok()?;
            }
        }
    }

    fn answer(&self, request: &Request) -> (&'static str, Vec<u8>) {
        let mut store = self.store.lock().unwrap();
        let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
        let signed = header("authorization");
        let scope = format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/");
        let by_role = header("x-amz-security-token") == TOKEN;
        if !signed.starts_with(&scope) || !signed.contains("/eu-test-1/s3/") || !by_role {
            let repeated = format!("<CanonicalRequest>{TOKEN} {signed}</CanonicalRequest>");
            return ("403 Forbidden", error("InvalidAccessKeyId", &repeated));
        }
        let Some(key) = request.path.strip_prefix("/conf/") else {
            return ("404 Not Found", error("NoSuchBucket", ""));
        };
        match request.method.as_str() {
            "PUT" if store.busy > 0 => {
                store.busy -= 1;
                ("503 Slow Down", error("SlowDown", ""))
            }
            "PUT" => {
                let cached = header("cache-control");
                assert_eq!(cached.contains("immutable"), key.contains("nodes/"), "{key}");
                store.objects.insert(key.to_owned(), request.body.clone());
                ("200 OK", Vec::new())
            }
            _ => match store.objects.get(key) {
                Some(object) => ("200 OK", object.clone()),
                None => ("404 Not Found", error("NoSuchKey", "")),
            },
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.store.lock().unwrap().asked)
    }
}

fn error(code: &str, more: &str) -> Vec<u8> {
    let message = format!("{code} it is");
    format!("<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>").into_bytes()
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next()?.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        stream.read_buf(buffer).await.ok()?;
    }
    let body = buffer.drain(..length).collect();
    Some(Request { method, path, headers, body })
}

/// Runs the binary on the control plane's database.
fn publish(cluster: &Cluster, to: &str, env: &[(&str, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    command.env_clear().env("KONG_PREFIX", cluster.prefix("cp"));
    command.envs(env.iter().map(|(name, value)| (name, value)));
    command.args(["snapshot", "publish", "--json", "--to", to]).output().unwrap()
}

fn nodes_written(output: &Output) -> u64 {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["nodes_written"].as_u64().unwrap()
}

/// Fills a control plane with services, as one event.
async fn fill(cluster: &Cluster, services: usize) {
    let operations: Vec<_> = (0..services)
        .map(|n| json!({"method": "PUT", "path": format!("/services/s{n}"), "body": {"host": "a"}}))
        .collect();
    let answer = cluster.call("POST", "/batch", &operations.into()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// A data plane of its own, which ends with this value.
struct Plane(Child);

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_to_a_bucket_children_first_and_from_there_to_a_data_plane() {
    let cluster = Cluster::without_data().await;
    fill(&cluster, 600).await;
    let server = Server::start().await;
    let env = server.environment();
    {
        let mut store = server.store.lock().unwrap();
        (store.busy, store.pairs) = (2, true);
    }
    let written = nodes_written(&publish(&cluster, "s3://conf/eu/prod/", &env));
    {
        let store = server.store.lock().unwrap();
        assert!(written > 5 && written == store.objects.len() as u64 - 1, "{written}");
        assert!(store.objects.keys().all(|key| key.starts_with("eu/prod/")));
        assert!((2..=8).contains(&store.together), "{} at once", store.together);
        let level = |line: &String| {
            let key = line.strip_prefix("PUT /conf/")?;
            let text = String::from_utf8_lossy(store.objects.get(key)?);
            let level = text.strip_prefix("hybridctl-node 1 ")?.split_whitespace().next()?;
            level.parse::<u32>().ok()
        };
        let levels: Vec<_> = store.asked.iter().filter_map(level).collect();
        assert!(levels.len() as u64 >= written + 2, "two were told to come again");
        assert!(levels.is_sorted(), "children go first");
    }
    let asked = server.asked();
    assert_eq!(asked.last().unwrap(), "PUT /conf/eu/prod/head.json", "the head goes last");

    // What is there is asked for once, at the root, and left alone.
    assert_eq!(nodes_written(&publish(&cluster, "s3://conf/eu/prod", &env)), 0);
    assert_eq!(server.asked().len(), 2);
    cluster.put("/services/s7", json!({"host": "b"})).await;
    let next = nodes_written(&publish(&cluster, "s3://conf/eu/prod", &env));
    assert!((1..=4).contains(&next), "{next}");
    server.asked();

    let folder = Directory::new();
    let log = folder.path().join("said");
    let mut settings = vec![
        ("KONG_ROLE", "data_plane"),
        ("KONG_DATABASE", "off"),
        ("KONG_PROXY_LISTEN", "127.0.0.1:0"),
        ("KONG_STATUS_LISTEN", "off"),
        ("KONG_NGINX_WORKER_PROCESSES", "1"),
        ("KONG_CLUSTER_SNAPSHOT_MIRROR", "s3://conf/eu/prod"),
        ("KONG_LOG_LEVEL", "debug"),
    ];
    let control = cluster.control.as_ref().unwrap().cluster[0].to_string();
    settings.push(("KONG_CLUSTER_CONTROL_PLANE", &control));
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = cluster.env_with_certificate(settings.collect());
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    command.env_clear().envs(settings).envs(env).env("KONG_PREFIX", cluster.prefix("dp"));
    command.env("KONG_PROXY_ERROR_LOG", "/dev/stderr").arg("run");
    command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    let _plane = Plane(command.spawn().unwrap());
    let wanted = cluster.control.as_ref().unwrap().writer.head().config_hash.to_string();
    let served = poll(async || {
        let planes = cluster.call("GET", "/clustering/data-planes", &Value::Null).await.json();
        (planes["data"][0]["applied_hash"] == wanted.as_str()).then_some(())
    });
    let served = served.await;
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(served.is_some(), "{said}");
    let got = server.asked();
    let given = got.iter().filter(|line| line.starts_with("GET /conf/eu/prod/nodes/")).count();
    assert_eq!(given as u64, written, "{said}");
    for secret in [SECRET, TOKEN, KEY_ID] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_of_a_bucket_is_told_without_credentials() {
    let cluster = Cluster::without_data().await;
    cluster.put("/services/a", json!({"host": "a"})).await;
    let server = Server::start().await;
    let nowhere = format!("http://{}", own_address());
    for (to, name, value, said) in [
        ("s3://other/x", "", "", "bucket other: 404 Not Found: NoSuchBucket: NoSuchBucket it is"),
        ("s3://conf/x", "AWS_ACCESS_KEY_ID", "AKIDOTHER", "403 Forbidden: InvalidAccessKeyId: "),
        ("s3://conf/x", "AWS_ENDPOINT_URL", &nowhere, "bucket conf: failed to connect: "),
        ("s3://conf/x", "AWS_ALLOW_HTTP", "false", "AWS_ALLOW_HTTP is not true"),
        ("s3://conf/x", "AWS_SECRET_ACCESS_KEY", "", "bucket conf: "),
        ("s3://conf/x", "AWS_ENDPOINT_URL", "minio:9000", "AWS_ENDPOINT_URL in the environment"),
        ("s3://", "", "", "mirror must be "),
    ] {
        let mut env = server.environment();
        env.retain(|(known, _)| *known != name);
        if !name.is_empty() {
            env.push((name, value.to_owned()));
        }
        let output = publish(&cluster, to, &env);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{name}={value}: {error}");
        for secret in [SECRET, TOKEN, KEY_ID, "AKIDOTHER"] {
            assert!(!error.contains(secret), "{error}");
        }
    }
    assert!(server.store.lock().unwrap().objects.is_empty());
}
