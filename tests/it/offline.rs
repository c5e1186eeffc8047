//! Data planes without a control plane: exported snapshots, damaged caches, declarative files.

use std::process::Command;

use crate::harness::Cluster;
use crate::http::{self, Upstream};

fn hybridctl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hybridctl")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_snapshot_starts_a_data_plane_and_a_damaged_one_does_not() {
    let upstream = Upstream::start("blue").await;
    let mut cluster = Cluster::without_data().await;
    cluster.route("a", "/a", &upstream).await;
    let hash = cluster.control.as_ref().unwrap().writer.head().config_hash.to_hex();
    let file = cluster.directory.path().join("config.json.gz").display().to_string();
    let prefix = cluster.prefix("cp").display().to_string();
    let export = ["snapshot", "export", "--hash", &hash[..12], "-o", &file, "-p", &prefix];
    let (done, said) = hybridctl(&export);
    assert!(done, "{said}");
    cluster.stop_control().await;

    let fresh = cluster.prefix("fresh");
    std::fs::create_dir_all(&fresh).unwrap();
    std::fs::copy(&file, fresh.join("config.json.gz")).unwrap();
    cluster.start_data_in("fresh", &[]).await;
    assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().json()["name"], "blue");
    assert_eq!(cluster.data.as_ref().unwrap().config_hash().to_hex(), hash);
    cluster.stop_data().await;

    let damaged = cluster.prefix("damaged");
    std::fs::create_dir_all(&damaged).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(damaged.join("config.json.gz"), bytes).unwrap();
    cluster.start_data_in("damaged", &[]).await;
    assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().status, 404);
    assert_eq!(http::get(cluster.status(), "/status/ready").await.unwrap().status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declarative_file_serves_until_there_is_a_cache() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = Cluster::without_data().await;
    let file = cluster.directory.path().join("kong.yml");
    let text = format!(
        "_format_version: \"3.0\"\nservices:\n- name: a\n  url: http://{}\n  routes:\n  - paths: [/a]\n",
        blue.address
    );
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let more = [("KONG_DECLARATIVE_CONFIG", file.as_str())];
    cluster.stop_control().await;
    cluster.start_data_in("dp", &more).await;
    assert_eq!(http::get(cluster.proxy(), "/a").await.unwrap().json()["name"], "blue");

    cluster.start_control().await;
    cluster.route("a", "/a", &green).await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
    cluster.stop_data().await;
    cluster.stop_control().await;
    cluster.start_data_in("dp", &more).await;
    let after = http::get(cluster.proxy(), "/a").await.unwrap();
    assert_eq!(after.json()["name"], "green", "the cache goes before the file");
}
