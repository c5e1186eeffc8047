//! A configuration that ends a data plane's process: it goes back by itself, says so, and the
//! control plane keeps the configuration from everybody else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use hybridctl::domain::hash::ConfigHash;
use hybridctl::planes::data::Data;
use serde_json::{Value, json};

use crate::harness::{Cluster, own_address, poll};
use crate::http;

/// A data plane that can be killed, again and again, in one prefix.
pub(crate) struct DataProcess {
    env: Vec<(String, String)>,
    prefix: PathBuf,
    status: SocketAddr,
    child: Option<Child>,
}

impl DataProcess {
    pub(crate) async fn start(cluster: &Cluster, name: &str) -> Self {
        let control = cluster.control.as_ref().unwrap().cluster[0].to_string();
        let status = own_address();
        let prefix = cluster.prefix(name);
        let env = [
            ("KONG_ROLE", "data_plane".to_owned()),
            ("KONG_DATABASE", "off".to_owned()),
            ("KONG_PREFIX", prefix.display().to_string()),
            ("KONG_CLUSTER_CONTROL_PLANE", control),
            ("KONG_CLUSTER_DP_LABELS", format!("name:{name}")),
            ("KONG_PROXY_LISTEN", "127.0.0.1:0".to_owned()),
            ("KONG_STATUS_LISTEN", status.to_string()),
            ("KONG_NGINX_WORKER_PROCESSES", "1".to_owned()),
            ("KONG_PROXY_ACCESS_LOG", "off".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let env = cluster.env_with_certificate(env);
        let mut process = Self { env, prefix, status, child: None };
        process.start_again().await;
        process
    }

    /// Starts it in its prefix, and waits until it answers.
    async fn start_again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.arg("run").envs(self.env.iter().cloned());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        let up = poll(async || http::get(self.status, "/status").await.ok()).await;
        assert!(up.is_some(), "the data plane does not answer");
    }

    /// Returns where its status API listens.
    pub(crate) fn status(&self) -> SocketAddr {
        self.status
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until it serves this.
    pub(crate) async fn serves(&self, wanted: ConfigHash) {
        let mut seen = Value::Null;
        let done = poll(async || {
            let status = http::get(self.status, "/status").await.ok()?.json();
            seen = status["configuration_hash"].clone();
            (seen == json!(wanted)).then_some(())
        });
        assert!(done.await.is_some(), "it serves {seen}, not {wanted}");
    }

    /// Kills it as soon as it says that it is putting this in force.
    async fn crash_on(&mut self, wanted: ConfigHash) {
        let journal = self.prefix.join("config.journal");
        let begun = poll(async || {
            let text = std::fs::read_to_string(&journal).ok()?;
            let journal: Value = serde_json::from_str(&text).ok()?;
            (journal["trial"] == json!(wanted)).then_some(())
        });
        assert!(begun.await.is_some(), "it does not put {wanted} in force");
        self.kill();
    }
}

impl Drop for DataProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn write(cluster: &Cluster, name: &str) -> ConfigHash {
    cluster.put(&format!("/consumers/{name}"), json!({})).await;
    cluster.control.as_ref().unwrap().writer.head().config_hash
}

async fn data_in(cluster: &mut Cluster, name: &str) -> Data {
    cluster.start_data_in(name, &[("KONG_CLUSTER_DP_LABELS", &format!("name:{name}"))]).await;
    cluster.data.take().unwrap()
}

async fn serves(data: &Data, wanted: ConfigHash) {
    let done = poll(async || (data.config_hash() == wanted).then_some(())).await;
    assert!(done.is_some(), "it serves {}, not {wanted}", data.config_hash());
}

/// Returns the row of a data plane once it is as wanted.
async fn row(cluster: &Cluster, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = poll(async || {
        let rows = cluster.call("GET", "/clustering/data-planes", &Value::Null).await.json();
        let rows = rows["data"].as_array()?.clone();
        last = rows.into_iter().find(|row| row["labels"]["name"] == name)?;
        wanted(&last).then(|| last.clone())
    });
    found.await.unwrap_or_else(|| panic!("the row of {name} stays {last}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_two_crashes_a_data_plane_boots_what_was_good_and_nobody_else_gets_the_poison() {
    let mut cluster = Cluster::without_data().await;
    let good = write(&cluster, "a").await;
    let mut crashing = DataProcess::start(&cluster, "crashing").await;
    let steady = data_in(&mut cluster, "steady").await;
    crashing.serves(good).await;
    serves(&steady, good).await;
    steady.stop().await;

    let poison = write(&cluster, "b").await;
    crashing.crash_on(poison).await;
    crashing.start_again().await;
    crashing.crash_on(poison).await;
    crashing.start_again().await;
    crashing.serves(good).await;
    let told = row(&cluster, "crashing", |row| !row["rejected"].is_null()).await;
    let told = told["rejected"].to_string();
    assert!(told.contains(&poison.to_hex()) && told.contains("ended 2 times"), "{told}");

    let kept = poll(async || {
        let kept = cluster.call("GET", "/quarantine", &Value::Null).await.json();
        (kept["data"][0]["config_hash"] == json!(poison)).then(|| kept["data"][0].clone())
    });
    let kept = kept.await.expect("it is kept back");
    assert_eq!(kept["instead_hash"], json!(good));
    let (steady, fresh) =
        (data_in(&mut cluster, "steady").await, data_in(&mut cluster, "fresh").await);
    serves(&fresh, good).await;
    let held = row(&cluster, "fresh", |row| row["held_by"] == "quarantine").await;
    assert!(held["held_why"].as_str().is_some_and(|why| why.contains("ended 2 times")), "{held}");
    row(&cluster, "steady", |row| row["held_by"] == "quarantine").await;
    serves(&steady, good).await;

    // What comes later is announced as ever, and so is the poison once somebody says that it is none.
    let later = write(&cluster, "c").await;
    crashing.serves(later).await;
    serves(&steady, later).await;
    serves(&fresh, later).await;
    let path = format!("/quarantine/{}", &poison.to_hex()[..8]);
    assert_eq!(cluster.call("DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(cluster.call("GET", &path, &Value::Null).await.status, 404);
    let back = cluster.call("POST", "/rollback", &json!({"to": poison})).await;
    assert_eq!(back.status, 200, "{}", back.body);
    serves(&steady, poison).await;
    serves(&fresh, poison).await;
    row(&cluster, "crashing", |row| row["rejected"].to_string().contains("ended 2 times")).await;
    crashing.serves(later).await;
    steady.stop().await;
    fresh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_first_wave_brings_the_rollout_back() {
    let mut cluster = Cluster::without_data().await;
    let good = write(&cluster, "a").await;
    let mut canary = DataProcess::start(&cluster, "canary").await;
    let other = data_in(&mut cluster, "other").await;
    canary.serves(good).await;
    serves(&other, good).await;
    let plan = json!({"waves": [{"labels": {"name": "canary"}}], "quiet_seconds": 600});
    assert_eq!(cluster.call("PUT", "/rollout", &plan).await.status, 200);

    let poison = write(&cluster, "b").await;
    for _ in 0..2 {
        canary.crash_on(poison).await;
        canary.start_again().await;
    }
    canary.serves(good).await;
    let stopped = poll(async || {
        let shown = cluster.call("GET", "/rollout", &Value::Null).await.json();
        (shown["state"] == "stopped").then_some(shown)
    });
    let stopped = stopped.await.expect("a crash stops the rollout");
    let why = stopped["stopped"]["why"].as_str().unwrap();
    assert!(why.contains("refused it") && why.contains("ended 2 times"), "{why}");
    assert_eq!(stopped["stopped"]["config_hash"], json!(poison));
    serves(&other, good).await;

    let later = write(&cluster, "c").await;
    canary.serves(later).await;
    serves(&other, good).await;
    other.stop().await;
}
