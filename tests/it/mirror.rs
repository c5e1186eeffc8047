//! Mirrors of snapshots end to end: published by the command, served over HTTP, pulled by data
//! planes, whatever the mirror does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Cluster, Directory, own_address};

/// What a mirror does with what it is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Serves and takes files.
    Serves,
    /// Serves other bytes than those of the file.
    Lies,
    /// Never answers.
    Stalls,
}

/// A file server over a folder.
struct Server {
    address: SocketAddr,
    /// The nodes that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(folder: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (folder, seen) = (folder.to_owned(), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, folder.clone(), manner, seen.clone()));
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/base", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Serves one connection, request after request.
async fn serve(
    mut stream: TcpStream,
    folder: PathBuf,
    manner: Manner,
    asked: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(buffer.drain(..end).collect()).unwrap().to_lowercase();
        let mut words = head.split_whitespace();
        let (method, path) = (words.next()?, words.next()?.strip_prefix("/base/")?);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while buffer.len() < length {
            stream.read_buf(&mut buffer).await.ok()?;
        }
        let body: Vec<u8> = buffer.drain(..length).collect();
        let file = folder.join(path);
        asked.lock().unwrap().push(format!("{method} {path}"));
        if manner == Manner::Stalls {
            std::future::pending::<()>().await;
        }
        let (status, content) = match method {
            "put" => {
                std::fs::create_dir_all(file.parent()?).unwrap();
                std::fs::write(&file, body).unwrap();
                ("201 Created", Vec::new())
            }
            _ => match std::fs::read(&file) {
                Ok(_) if manner == Manner::Lies => ("200 OK", b"hybridctl-node 1 0\n".to_vec()),
                Ok(content) => ("200 OK", content),
                Err(_) => ("404 Not Found", Vec::new()),
            },
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", content.len());
        stream.write_all(head.as_bytes()).await.ok()?;
        if method != "head" {
            stream.write_all(&content).await.ok()?;
        }
    }
}

/// Fills a control plane with services, as one event.
async fn fill(cluster: &Cluster, services: usize) {
    let operations: Vec<_> = (0..services)
        .map(|n| json!({"method": "PUT", "path": format!("/services/s{n}"), "body": {"host": "a"}}))
        .collect();
    let answer = cluster.call("POST", "/batch", &operations.into()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Runs the binary on the control plane's database.
fn run(cluster: &Cluster, line: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    command.env_clear().env("KONG_PREFIX", cluster.prefix("cp"));
    let output = command.args(line.split_whitespace()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn nodes(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder.join("nodes")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_takes_nodes_from_the_mirror_and_the_rest_from_the_control_plane() {
    let mut cluster = Cluster::without_data().await;
    fill(&cluster, 600).await;
    let folder = Directory::new();
    let server = Server::start(folder.path(), Manner::Serves).await;
    let line = format!("snapshot publish --to {} --json", server.url());
    let published: Value = serde_json::from_str(&run(&cluster, &line)).unwrap();
    let all = nodes(folder.path());
    assert_eq!(published["nodes_written"], all.len());
    let asked = server.asked();
    assert_eq!(asked.last().unwrap(), "put head.json", "the head goes last");
    assert_eq!(asked.iter().filter(|line| line.contains("head.json")).count(), 1);
    let again: Value = serde_json::from_str(&run(&cluster, &line)).unwrap();
    assert_eq!(again["nodes_written"], 0);

    // The mirror lags behind by one event, and has lost a leaf.
    cluster.put("/services/s7", json!({"host": "b"})).await;
    let lost = all.iter().find(|name| {
        let text = std::fs::read_to_string(folder.path().join("nodes").join(name)).unwrap();
        text.starts_with("hybridctl-node 1 0") && !text.contains("\"s7\"")
    });
    std::fs::remove_file(folder.path().join("nodes").join(lost.unwrap())).unwrap();
    server.asked.lock().unwrap().clear();
    cluster.start_data_in("dp", &[("KONG_CLUSTER_SNAPSHOT_MIRROR", &server.url())]).await;
    cluster.converge().await;
    let asked = server.asked();
    let left = nodes(folder.path());
    let given = asked.iter().filter_map(|line| line.strip_prefix("get nodes/"));
    let given = given.filter(|name| left.contains(*name)).count();
    assert!(given > 3 && given >= left.len() - 4, "{given} of {}", left.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_lies_stalls_or_is_dead_only_costs_a_moment() {
    let mut cluster = Cluster::without_data().await;
    fill(&cluster, 300).await;
    let folder = Directory::new();
    run(&cluster, &format!("snapshot publish --to file://{}", folder.path().display()));
    let dead = own_address();
    let lies = Server::start(folder.path(), Manner::Lies).await;
    let stalls = Server::start(folder.path(), Manner::Stalls).await;
    for (name, url) in
        [("lies", lies.url()), ("dead", format!("http://{dead}")), ("stalls", stalls.url())]
    {
        cluster.start_data_in(name, &[("KONG_CLUSTER_SNAPSHOT_MIRROR", &url)]).await;
        cluster.converge().await;
        cluster.stop_data().await;
    }
    // The root was asked for, and after that nothing.
    assert_eq!((lies.asked().len(), stalls.asked().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_a_mirror_in_a_folder_and_verifies() {
    let mut cluster = Cluster::without_data().await;
    fill(&cluster, 100).await;
    let folder = Directory::new();
    let at = folder.path().display();
    run(&cluster, &format!("snapshot export --format pack {at}"));
    let verified = run(&cluster, &format!("snapshot verify {at}"));
    assert!(verified.ends_with(": 100 entities, signed.\n"), "{verified}");
    let url = format!("file://{at}");
    cluster.start_data_in("dp", &[("KONG_CLUSTER_SNAPSHOT_MIRROR", &url)]).await;
    cluster.converge().await;
}
