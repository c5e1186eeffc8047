//! Who gets which config: the frozen head, pins and rollouts, with several data planes.

use std::path::PathBuf;

use hybridctl::domain::hash::ConfigHash;
use hybridctl::planes::data::Data;
use serde_json::{Value, json};

use crate::harness::{Cluster, poll};

/// A control plane and data planes of these names, each with the label `name`.
struct Fleet {
    cluster: Cluster,
    planes: Vec<(&'static str, Data)>,
}

impl Fleet {
    async fn start(names: &[&'static str]) -> Self {
        let mut fleet = Self { cluster: Cluster::without_data().await, planes: Vec::new() };
        for name in names {
            fleet.join(name).await;
        }
        fleet
    }

    async fn join(&mut self, name: &'static str) {
        let labels = format!("name:{name},region:eu");
        self.cluster.start_data_in(name, &[("KONG_CLUSTER_DP_LABELS", &labels)]).await;
        let data = self.cluster.data.take().unwrap();
        self.planes.push((name, data));
    }

    async fn leave(&mut self, name: &str) {
        let at = self.planes.iter().position(|(known, _)| *known == name).unwrap();
        self.planes.remove(at).1.stop().await;
    }

    /// Writes something and returns the config that it led to.
    async fn write(&self, name: &str) -> ConfigHash {
        self.cluster.put(&format!("/consumers/{name}"), json!({})).await;
        self.head()
    }

    fn head(&self) -> ConfigHash {
        self.cluster.control.as_ref().unwrap().writer.head().config_hash
    }

    /// Waits until each data plane serves this.
    async fn serve(&self, wanted: &[ConfigHash]) {
        let served = || self.planes.iter().map(|(_, data)| data.config_hash()).collect::<Vec<_>>();
        let done = poll(async || (served() == wanted).then_some(())).await;
        assert!(done.is_some(), "served: {:?}, wanted: {wanted:?}", served());
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.cluster.call(method, path, &body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.body);
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// Returns the row of a data plane.
    async fn row(&self, name: &str) -> Value {
        let rows = self.call("GET", "/clustering/data-planes", Value::Null).await;
        let rows = rows["data"].as_array().unwrap();
        rows.iter().find(|row| row["labels"]["name"] == name).unwrap().clone()
    }

    async fn id(&self, name: &str) -> Value {
        let found = poll(async || {
            let rows = self.call("GET", "/clustering/data-planes", Value::Null).await;
            let rows = rows["data"].as_array().unwrap();
            let row = rows.iter().find(|row| row["labels"]["name"] == name);
            row.map(|row| row["id"].clone())
        });
        found.await.unwrap()
    }

    async fn restart_control(&mut self) {
        self.cluster.stop_control().await;
        self.cluster.start_control().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_head_stays_while_writes_go_on() {
    let mut fleet = Fleet::start(&["one"]).await;
    let before = fleet.write("a").await;
    fleet.serve(&[before]).await;

    let frozen = fleet.call("POST", "/freeze", json!({"reason": "Friday"})).await;
    assert_eq!((&frozen["frozen"], &frozen["changed"]), (&json!(true), &json!(true)));
    let after = fleet.write("b").await;
    assert_eq!(fleet.call("POST", "/freeze", json!({})).await["changed"], false);

    // Who comes while it is frozen gets the frozen head, and so after a restart.
    fleet.join("two").await;
    fleet.serve(&[before, before]).await;
    fleet.restart_control().await;
    fleet.join("three").await;
    fleet.serve(&[before, before, before]).await;
    let shown = fleet.call("GET", "/freeze", Value::Null).await;
    assert_eq!((&shown["reason"], &shown["seq"]), (&json!("Friday"), &json!(1)));
    assert_eq!((&shown["newest_seq"], &shown["by"]), (&json!(2), &json!("anonymous")));
    let row = fleet.row("three").await;
    assert_eq!(
        (&row["held_by"], &row["held_why"], &row["assigned_hash"]),
        (&json!("freeze"), &json!("Friday"), &json!(before))
    );

    assert_eq!(fleet.call("POST", "/unfreeze", json!({})).await["changed"], true);
    fleet.serve(&[after, after, after]).await;
    assert_eq!(fleet.row("one").await["held_by"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_elsewhere_than_at_what_is_announced_is_refused() {
    let fleet = Fleet::start(&[]).await;
    fleet.write("a").await;
    fleet.write("b").await;
    let back = fleet.cluster.call("POST", "/freeze", &json!({"at": 1})).await;
    assert_eq!(back.status, 400, "{}", back.body);
    let why = back.json()["fields"]["at"].as_str().unwrap().to_owned();
    assert!(why.contains("roll back to 1 first"), "{why}");
    fleet.call("POST", "/freeze", json!({"at": 2})).await;
    fleet.write("c").await;
    let ahead = fleet.cluster.call("POST", "/freeze", &json!({"at": 3})).await;
    assert!(ahead.body.contains("unfreeze first"), "{}", ahead.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_data_plane_goes_back_and_comes_back() {
    let mut fleet = Fleet::start(&["one", "two"]).await;
    let old = fleet.write("a").await;
    let new = fleet.write("b").await;
    fleet.serve(&[new, new]).await;

    let region = json!({"labels": {"region": "eu"}, "to": 1, "reason": "INC-7"});
    let pin = fleet.call("POST", "/pins", region).await;
    fleet.serve(&[old, old]).await;
    let row = fleet.row("two").await;
    assert_eq!((&row["held_by"], &row["pin"]), (&json!("pin"), &pin["id"]));
    assert_eq!((&row["held_why"], &row["assigned_seq"]), (&json!("INC-7"), &json!(1)));

    // The closer one wins, whichever is newer.
    let one = json!({"node_id": fleet.id("one").await, "to": new});
    let closer = fleet.call("POST", "/pins", one).await;
    fleet.serve(&[new, old]).await;
    let newest = fleet.write("c").await;
    fleet.call("POST", "/pins", json!({"labels": "region=eu", "to": 2})).await;
    fleet.serve(&[new, new]).await;
    fleet.call("POST", "/pins", json!({"labels": "region=eu", "to": 1})).await;
    fleet.serve(&[new, old]).await;

    // Pins outlast both planes' restarts, and the cache of a data plane too.
    fleet.restart_control().await;
    fleet.leave("two").await;
    fleet.join("two").await;
    fleet.serve(&[new, old]).await;
    fleet.call("DELETE", &format!("/pins/{}", closer["id"]), Value::Null).await;
    fleet.serve(&[old, old]).await;
    let pins = fleet.call("GET", "/pins", Value::Null).await;
    assert_eq!(pins["data"].as_array().map(Vec::len), Some(1), "{pins}");
    fleet.call("DELETE", &format!("/pins/{}", pins["data"][0]["id"]), Value::Null).await;
    fleet.serve(&[newest, newest]).await;
    let gone = fleet.cluster.call("GET", "/pins/1", &Value::Null).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_that_gets_the_label_of_a_pin_goes_back() {
    let mut fleet = Fleet::start(&["one"]).await;
    let old = fleet.write("a").await;
    fleet.call("POST", "/pins", json!({"labels": {"name": "other"}, "to": 1})).await;
    let new = fleet.write("b").await;
    fleet.serve(&[new]).await;
    fleet.leave("one").await;
    fleet.cluster.start_data_in("one", &[("KONG_CLUSTER_DP_LABELS", "name:other")]).await;
    fleet.planes.push(("other", fleet.cluster.data.take().unwrap()));
    fleet.serve(&[old]).await;
}

fn waves(waves: Value) -> Value {
    json!({"waves": waves, "quiet_seconds": 0})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_goes_wave_by_wave() {
    let mut fleet = Fleet::start(&["one", "two"]).await;
    let old = fleet.write("a").await;
    fleet.serve(&[old, old]).await;
    // Nobody is in the second wave yet, so it waits there.
    let plan = waves(json!([{"labels": {"name": "one"}}, {"labels": {"name": "three"}}]));
    fleet.call("PUT", "/rollout", plan).await;
    let new = fleet.write("b").await;
    fleet.serve(&[new, old]).await;
    let waits = poll(async || {
        let shown = fleet.call("GET", "/rollout", Value::Null).await;
        (shown["active"]["wave"] == 2).then_some(shown)
    });
    let shown = waits.await.unwrap();
    assert_eq!((&shown["state"], &shown["good_hash"]), (&json!("active"), &json!(old)));
    assert_eq!(fleet.row("two").await["held_by"], "rollout");

    // The control plane goes on where it was.
    fleet.restart_control().await;
    fleet.serve(&[new, old]).await;
    fleet.join("three").await;
    fleet.serve(&[new, new, new]).await;
    let done = poll(async || {
        let shown = fleet.call("GET", "/rollout", Value::Null).await;
        (shown["state"] == "done").then_some(())
    });
    assert!(done.await.is_some());
    fleet.call("DELETE", "/rollout", Value::Null).await;
    let newest = fleet.write("c").await;
    fleet.serve(&[newest, newest, newest]).await;
}

/// A data plane that is to run without plugins refuses a config that has one.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_the_first_wave_brings_it_back() {
    let mut fleet = Fleet::start(&[]).await;
    let picky = [("KONG_CLUSTER_DP_LABELS", "name:picky"), ("KONG_PLUGINS", "off")];
    fleet.cluster.start_data_in("picky", &picky).await;
    fleet.planes.push(("picky", fleet.cluster.data.take().unwrap()));
    fleet.join("two").await;
    let old = fleet.write("a").await;
    fleet.serve(&[old, old]).await;
    fleet.call("PUT", "/rollout", waves(json!([{"labels": {"name": "picky"}}]))).await;
    let bad = json!({"name": "correlation-id", "config": {"header_name": "X-Trace"}});
    assert_eq!(fleet.cluster.call("POST", "/plugins", &bad).await.status, 201);
    let stopped = poll(async || {
        let shown = fleet.call("GET", "/rollout", Value::Null).await;
        (shown["state"] == "stopped").then_some(shown)
    });
    let stopped = stopped.await.expect("a refusal stops the rollout");
    let why = stopped["stopped"]["why"].as_str().unwrap();
    assert!(why.contains("refused it"), "{why}");
    fleet.serve(&[old, old]).await;
    let row = fleet.row("two").await;
    assert_eq!((&row["held_by"], &row["held_why"]), (&json!("rollout"), &json!(why)));
}

/// Returns the file of the control plane's database.
fn database(cluster: &Cluster) -> PathBuf {
    let directory = cluster.prefix("cp");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut databases = files.filter(|path| path.extension().is_some_and(|it| it == "db"));
    databases.next().expect("the control plane keeps its log in a file")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_follows_what_others_decide() {
    use hybridctl::clock::Clock;
    use hybridctl::log::sqlite::SqliteLog;
    use hybridctl::promotion::keeper::{Who, decide};
    use hybridctl::promotion::order;

    let fleet = Fleet::start(&["one"]).await;
    let old = fleet.write("a").await;
    fleet.serve(&[old]).await;
    let log = SqliteLog::open(&database(&fleet.cluster)).await.unwrap();
    let mut state = Default::default();
    let who = Who { actor: "ann".into(), source: "cli", reason: None };
    let now = fleet.call("GET", "/freeze", Value::Null).await;
    let newest = serde_json::from_value(now).unwrap();
    let order = |state: &_| order::freeze(state, newest, None);
    assert!(decide(&log, &mut state, &Clock::System, &who, order).await.unwrap());
    let seen = poll(async || {
        let shown = fleet.call("GET", "/freeze", Value::Null).await;
        (shown["by"] == "ann").then_some(())
    });
    assert!(seen.await.is_some(), "the other's freeze is seen");
    fleet.write("b").await;
    assert_eq!(fleet.row("one").await["assigned_hash"], json!(old));
    fleet.serve(&[old]).await;
}
