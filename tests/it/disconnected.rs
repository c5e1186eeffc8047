//! The life of a data plane whose control plane is away, sentence by sentence of the documentation
//! of hybrid mode; the names quote it.

use serde_json::json;

use crate::harness::{Cluster, poll};
use crate::http::{self, Upstream};

/// A cluster whose data plane `dp` serves `/a` by an upstream of this name.
async fn connected(upstream: &Upstream) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.route("a", "/a", upstream).await;
    cluster.until("/a", |answer| answer.status == 200).await;
    cluster
}

/// Returns which upstream the data plane sends `/a` to.
async fn served(cluster: &Cluster) -> String {
    let answer = http::get(cluster.proxy(), "/a").await.unwrap();
    answer.json()["name"].as_str().unwrap_or("none").to_owned()
}

async fn is_ready(cluster: &Cluster) -> bool {
    http::get(cluster.status(), "/status/ready").await.unwrap().status == 200
}

/// Writes a declarative file that sends `/a` to an upstream, and returns its path.
fn declare(cluster: &Cluster, upstream: &Upstream) -> String {
    let file = cluster.directory.path().join("kong.yml");
    let url = format!("http://{}", upstream.address);
    let text = format!(
        "_format_version: \"3.0\"\nservices:\n- name: a\n  url: {url}\n  routes:\n  - paths: [/a]\n"
    );
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// Waits for what the cluster link says of its last failure.
async fn told(cluster: &Cluster, what: &str) -> String {
    let data = cluster.data.as_ref().unwrap();
    let said = poll(async || data.last_link_error().filter(|error| error.contains(what))).await;
    said.unwrap_or_else(|| panic!("the link says {:?}", data.last_link_error()))
}

fn has(cluster: &Cluster, file: &str) -> bool {
    cluster.prefix("dp").join(file).exists()
}

fn node_id(cluster: &Cluster, name: &str) -> String {
    std::fs::read_to_string(cluster.prefix(name).join("kong.id")).unwrap()
}

/// "If there is no config cache or declarative configuration file available, the node starts with
/// empty configuration. In this state, it returns 404 to all requests. In all cases, the DP node
/// contacts the CP node to retrieve the latest configuration. If successful, it gets stored in the
/// local config cache."
#[tokio::test(flavor = "multi_thread")]
async fn it_starts_with_empty_configuration_and_returns_404_then_contacts_the_cp_node() {
    let blue = Upstream::start("blue").await;
    let mut cluster = Cluster::without_data().await;
    cluster.route("a", "/a", &blue).await;
    cluster.stop_control().await;
    cluster.start_data().await;
    for path in ["/", "/a"] {
        assert_eq!(http::get(cluster.proxy(), path).await.unwrap().status, 404);
    }
    assert!(!is_ready(&cluster).await && !has(&cluster, "config.json.gz"));

    cluster.start_control().await;
    cluster.until("/a", |answer| answer.status == 200).await;
    assert!(is_ready(&cluster).await);
    assert!(poll(async || has(&cluster, "config.json.gz").then_some(())).await.is_some());
}

/// "In case the control plane stops working, the data plane will keep serving requests using
/// cached configurations. Data Plane nodes can be restarted while in disconnected mode, and will
/// load the last configuration in the cache to start working. When the Control Plane is brought
/// up again, the Data Plane nodes will contact them and resume connected mode."
#[tokio::test(flavor = "multi_thread")]
async fn data_plane_nodes_can_be_restarted_while_in_disconnected_mode_and_resume_connected_mode() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = connected(&blue).await;
    let id = node_id(&cluster, "dp");
    cluster.stop_control().await;
    assert_eq!(served(&cluster).await, "blue");
    for _ in 0..3 {
        cluster.stop_data().await;
        cluster.start_data().await;
        assert_eq!(served(&cluster).await, "blue");
        assert!(is_ready(&cluster).await);
    }
    assert_eq!(node_id(&cluster, "dp"), id);

    cluster.start_control().await;
    cluster.route("a", "/a", &green).await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
}

/// "A new Data Plane node can be provisioned during Control Plane downtime. This requires either
/// copying the config cache file (config.json.gz) from another Data Plane node, or using a
/// declarative configuration. In either case, it will also keep trying to contact the Control Plane
/// until it's up again." The copy makes it one of the cluster, under an id of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_data_plane_node_can_be_provisioned_during_control_plane_downtime_by_a_copied_cache()
{
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = connected(&blue).await;
    cluster.stop_control().await;
    cluster.stop_data().await;
    std::fs::create_dir_all(cluster.prefix("new")).unwrap();
    let cache = |name: &str| cluster.prefix(name).join("config.json.gz");
    std::fs::copy(cache("dp"), cache("new")).unwrap();
    cluster.start_data_in("new", &[]).await;
    assert_eq!(served(&cluster).await, "blue");
    assert_ne!(node_id(&cluster, "new"), node_id(&cluster, "dp"));
    let pin = |name: &str| std::fs::read(cluster.prefix(name).join("cluster.pin")).unwrap();
    assert_eq!(pin("new"), pin("dp"));

    cluster.start_control().await;
    cluster.route("a", "/a", &green).await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn or_using_a_declarative_configuration_it_will_also_keep_trying_to_contact_the_control_plane()
 {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = Cluster::without_data().await;
    cluster.route("a", "/a", &green).await;
    cluster.stop_control().await;
    let file = declare(&cluster, &blue);
    cluster.start_data_in("dp", &[("KONG_DECLARATIVE_CONFIG", &file)]).await;
    assert_eq!(served(&cluster).await, "blue");
    assert!(is_ready(&cluster).await && !has(&cluster, "config.json.gz"));
    cluster.start_control().await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
}

/// "To change a disconnected Data Plane node's configuration, you have to remove the config cache
/// file (config.json.gz), ensure the declarative_config parameter or the KONG_DECLARATIVE_CONFIG
/// environment variable is set, and set the whole configuration in the referenced YAML file."
#[tokio::test(flavor = "multi_thread")]
async fn to_change_a_disconnected_data_plane_node_you_have_to_remove_the_config_cache_file() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = connected(&blue).await;
    // There are older generations of the cache, which nobody should have to know of.
    for name in ["b", "c"] {
        cluster.put(&format!("/consumers/{name}"), json!({})).await;
        cluster.converge().await;
    }
    cluster.stop_control().await;
    let file = declare(&cluster, &green);
    let more = [("KONG_DECLARATIVE_CONFIG", file.as_str())];
    cluster.stop_data().await;
    assert!(has(&cluster, "config.json.gz.1"));
    cluster.start_data_in("dp", &more).await;
    assert_eq!(served(&cluster).await, "blue", "the cache goes first");
    cluster.stop_data().await;
    std::fs::remove_file(cluster.prefix("dp").join("config.json.gz")).unwrap();
    cluster.start_data_in("dp", &more).await;
    assert_eq!(served(&cluster).await, "green");

    cluster.start_control().await;
    cluster.until("/a", |answer| answer.json()["name"] == "blue").await;
}

/// A control plane whose database was lost is another cluster, and empties no data plane; not the
/// one that was started from a copy either.
#[tokio::test(flavor = "multi_thread")]
async fn control_plane_updates_or_database_restores_can_be_done_with_peace_of_mind() {
    let blue = Upstream::start("blue").await;
    let mut cluster = connected(&blue).await;
    stop_control(&mut cluster).await;
    let (kept, lost) = (cluster.prefix("kept"), cluster.prefix("cp"));
    std::fs::rename(&lost, &kept).unwrap();
    cluster.start_control().await;
    let said = told(&cluster, "another cluster").await;
    assert!(said.contains("remove cluster.pin and config.json.gz"), "{said}");
    cluster.stop_data().await;
    std::fs::remove_file(cluster.prefix("dp").join("cluster.pin")).unwrap();
    cluster.start_data().await;
    told(&cluster, "another cluster").await;
    assert_eq!(served(&cluster).await, "blue");

    stop_control(&mut cluster).await;
    std::fs::remove_dir_all(&lost).unwrap();
    std::fs::rename(&kept, &lost).unwrap();
    cluster.start_control().await;
    cluster.put("/consumers/b", json!({})).await;
    // Refused that often, it would wait for longer than a test does.
    cluster.stop_data().await;
    cluster.start_data().await;
    cluster.converge().await;
    assert_eq!(served(&cluster).await, "blue");
}

/// The cache is of position 2, then position 4 brings the same configuration back: what was in
/// force at position 3 is a replay, after a restart too.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_head_of_the_same_configuration_is_remembered_over_a_restart() {
    let blue = Upstream::start("blue").await;
    let mut cluster = connected(&blue).await;
    cluster.converge().await;
    let before = cluster.data.as_ref().unwrap().config_hash();
    cluster.stop_data().await;
    cluster.put("/consumers/b", json!({})).await;
    stop_control(&mut cluster).await;
    let (old, control) = (cluster.prefix("old"), cluster.prefix("cp"));
    copy(&control, &old);
    cluster.start_control().await;
    cluster.call("POST", "/rollback", &json!({"to": 2})).await;
    cluster.start_data().await;
    let kept = poll(async || {
        let text = std::fs::read_to_string(cluster.prefix("dp").join("config.journal")).ok()?;
        let journal: serde_json::Value = serde_json::from_str(&text).ok()?;
        (journal["head"]["seq"] == 4).then_some(())
    });
    assert!(kept.await.is_some(), "the newer head is kept");
    cluster.stop_data().await;
    stop_control(&mut cluster).await;

    std::fs::remove_dir_all(&control).unwrap();
    std::fs::rename(&old, &control).unwrap();
    cluster.start_control().await;
    cluster.start_data().await;
    told(&cluster, "head 3 refused").await;
    assert_eq!(cluster.data.as_ref().unwrap().config_hash(), before);
}

/// Stops the control plane and waits until its database is closed, so that its files can be moved:
/// SQLite takes its log away by name when it closes.
async fn stop_control(cluster: &mut Cluster) {
    cluster.stop_control().await;
    until_closed(&cluster.prefix("cp")).await;
}

/// Waits until this process has no database open in a prefix.
pub(crate) async fn until_closed(prefix: &std::path::Path) {
    let closed = poll(async || {
        // A log that stays says nothing: connections that close together leave it to each other.
        let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return Some(()) };
        let mut files = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        (!files.any(|file| file.starts_with(prefix) && is_of_database(&file))).then_some(())
    });
    assert!(closed.await.is_some(), "the database stays open");
}

fn is_of_database(file: &std::path::Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().contains(".db"))
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
