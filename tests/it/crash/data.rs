//! A data plane after a crash at each step of fetching, verifying, keeping and serving a config: it
//! starts on the old or the new one, whole, and goes on.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hybridctl::clock::Clock;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::decide::Fresh;
use hybridctl::domain::event::Seq;
use hybridctl::planes;
use hybridctl::snapshot::Snapshot;
use hybridctl::snapshot::file;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{Point, Record, at_each, was_killed, within};
use crate::harness::{Cluster, Directory, poll};
use crate::http::{self, Upstream};

/// How long a data plane may take to start after a crash.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// How many configs a run obtains: the one that it finds, and those that come while it runs.
const CONFIGS: usize = 3;

/// How many hits of each failpoint are tried.
const HITS: usize = 11;

/// Services that make the first config some nodes large.
const SERVICES: usize = 120;

/// What a data plane starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    /// Nothing: it pins the cluster and fetches all.
    Nothing,
    /// The cache of an older config: it fetches what it lacks.
    Cache,
}

/// A control plane that runs of data planes have to themselves, one after the other.
struct Place {
    cluster: Cluster,
    upstream: Upstream,
    /// Which version each config is, by hash; none is the empty one.
    versions: BTreeMap<String, Option<usize>>,
    /// How many runs there were.
    runs: usize,
}

fn operation(method: &str, path: String, body: Value) -> Value {
    json!({"method": method, "path": path, "body": body})
}

impl Place {
    async fn new() -> Self {
        let cluster = Cluster::without_data().await;
        let empty = Snapshot::default().hash().to_hex();
        let services = (0..SERVICES)
            .map(|id| operation("PUT", format!("/services/s{id}"), json!({"host": "nobody"})));
        let routes = ["a", "b"].into_iter().flat_map(|name| {
            let route = json!({"paths": [format!("/{name}")], "service": {"name": name}});
            let service = json!({"host": "nobody"});
            [
                operation("PUT", format!("/services/{name}"), service),
                operation("PUT", format!("/routes/{name}"), route),
            ]
        });
        let operations: Vec<_> = services.chain(routes).collect();
        let versions = BTreeMap::from([(empty, None)]);
        let upstream = Upstream::start("upstream").await;
        let answer = cluster.call("POST", "/batch", &operations.into()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut place = Self { cluster, upstream, versions, runs: 0 };
        place.write().await;
        place.cluster.start_data_in("cached", &[]).await;
        place.cluster.converge().await;
        place.cluster.stop_data().await;
        place.write().await;
        // One that starts anew remembers no config from which it could send a difference.
        place.cluster.stop_control().await;
        place.cluster.start_control().await;
        place
    }

    /// Writes the next version: one event that changes where both routes lead.
    async fn write(&mut self) {
        let version = self.versions.len();
        let url = format!("http://{}/v{version}", self.upstream.address);
        let operations: Vec<_> = ["a", "b"]
            .map(|name| operation("PUT", format!("/services/{name}"), json!({"url": url})))
            .into();
        let answer = self.cluster.call("POST", "/batch", &operations.into()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let hash = answer.json()["config_hash"].as_str().unwrap().to_owned();
        self.versions.insert(hash, Some(version));
    }

    /// Starts a data plane as a process of its own.
    fn start(&self, name: &str, id: Uuid, setup: impl Fn(&mut Command)) -> Child {
        let control = self.cluster.control.as_ref().unwrap().cluster[0];
        let env = [
            ("KONG_ROLE", "data_plane".to_owned()),
            ("KONG_DATABASE", "off".to_owned()),
            ("KONG_PREFIX", self.cluster.prefix(name).display().to_string()),
            ("KONG_NODE_ID", id.to_string()),
            ("KONG_CLUSTER_CONTROL_PLANE", control.to_string()),
            ("KONG_PROXY_LISTEN", "127.0.0.1:0".to_owned()),
            ("KONG_STATUS_LISTEN", "off".to_owned()),
            ("KONG_NGINX_WORKER_PROCESSES", "1".to_owned()),
            ("KONG_PROXY_ACCESS_LOG", "off".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.arg("run").envs(self.cluster.env_with_certificate(env));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        setup(&mut command);
        command.spawn().unwrap()
    }

    /// Returns the newest position that a data plane has said it serves.
    fn acknowledged(&self, id: Uuid) -> Option<Seq> {
        let rows = self.cluster.control.as_ref().unwrap().fleet.rows(Clock::System.now());
        rows.into_iter().find(|row| row.id == id)?.applied_seq
    }

    /// Lets a data plane obtain one config after the other until it has them all or dies; returns
    /// how it ended.
    async fn run(&mut self, name: &str, id: Uuid, setup: impl Fn(&mut Command)) -> ExitStatus {
        let mut child = self.start(name, id, setup);
        for number in 0..CONFIGS {
            if number > 0 {
                self.write().await;
            }
            let newest = self.cluster.control.as_ref().unwrap().writer.head().seq;
            let ended = poll(async || match child.try_wait().unwrap() {
                Some(status) => Some(Some(status)),
                None => (self.acknowledged(id) == Some(newest)).then_some(None),
            });
            match ended.await {
                Some(None) => {}
                Some(Some(status)) => return status,
                None => panic!("the data plane obtains nothing"),
            }
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
    }

    /// Prepares a prefix.
    fn prepare(&mut self, from: From) -> (String, Uuid) {
        self.runs += 1;
        let name = format!("dp{}", self.runs);
        let prefix = self.cluster.prefix(&name);
        fs::create_dir_all(&prefix).unwrap();
        if from == From::Cache {
            for file in ["cluster.pin", file::FILE_NAME] {
                fs::copy(self.cluster.prefix("cached").join(file), prefix.join(file)).unwrap();
            }
        }
        (name, Clock::System.id())
    }

    /// Kills a data plane at a point and starts it again; returns whether it got there.
    async fn crash(&mut self, from: From, point: &Point) -> bool {
        let (name, id) = self.prepare(from);
        let before = self.versions.len() - 1;
        let status = self.run(&name, id, |command| point.arm(command)).await;
        let killed = was_killed(status, point);
        self.check_files(&name, point);

        // Without a control plane: it has nothing but what the crash left.
        let nobody = [("KONG_CLUSTER_CONTROL_PLANE", "127.0.0.1:9")];
        let started = within(READY_WITHIN, self.cluster.start_data_in(&name, &nobody)).await;
        assert!(started.is_some(), "{from:?} {point}: no start in time");
        let hash = self.cluster.data.as_ref().unwrap().config_hash().to_hex();
        let version = *self.versions.get(&hash).unwrap_or_else(|| panic!("{point}: runs {hash}"));
        let acknowledged = self.acknowledged(id).map_or(0, |seq| seq.0 as usize);
        // The first event has no version, and each later one has the next.
        let least = if from == From::Cache { acknowledged.max(2) } else { acknowledged };
        let what = format!("{from:?} {point}: starts with {version:?}, {before} was there");
        assert!(version.unwrap_or(0) + 1 >= least, "{what}, event {least} was acknowledged");
        assert!(version.is_some() || from == From::Nothing, "{what}");
        for path in ["/a", "/b"] {
            let answer = http::get(self.cluster.proxy(), path).await.unwrap();
            match version {
                Some(version) => {
                    let request = format!("GET /v{version} HTTP/1.1");
                    assert_eq!(answer.json()["request"], request, "{what}");
                }
                None => assert_eq!(answer.status, 404, "{what}"),
            }
        }
        self.cluster.stop_data().await;

        self.cluster.start_data_in(&name, &[]).await;
        self.cluster.converge().await;
        self.cluster.stop_data().await;
        killed
    }

    /// Whatever generation is there under its name is whole.
    fn check_files(&self, name: &str, point: &Point) {
        let wanted = [("KONG_ROLE", "data_plane"), ("KONG_DATABASE", "off")];
        let settings = self.cluster.settings(name, &wanted);
        let catalog: Catalog = planes::catalog(&settings).unwrap();
        let clock = Clock::System;
        let mut id = || clock.id();
        let mut fresh = Fresh { at: clock.now(), id: &mut id };
        for entry in fs::read_dir(settings.prefix.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            // What is being written has another name until it is whole.
            if name.starts_with(file::FILE_NAME) && !name.contains(".new") {
                let loaded = file::decode(&catalog, &fs::read(&path).unwrap(), &mut fresh);
                assert!(loaded.is_ok(), "{point}: {name}: {:?}", loaded.err());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_data_plane_starts_on_the_old_config_or_the_new_one() {
    let directory = Directory::new();
    let record = Record::new(directory.path());
    let mut place = Place::new().await;
    let mut points = Vec::new();
    for from in [From::Nothing, From::Cache] {
        let folder = directory.path().join(format!("{from:?}"));
        fs::create_dir(&folder).unwrap();
        let own = Record::new(&folder);
        let (name, id) = place.prepare(from);
        let status = place.run(&name, id, |command| own.attach(command)).await;
        assert!(status.success(), "{status}");
        own.append_to(&record);
        points.extend(own.points_of(|_| true, HITS).into_iter().map(|point| (from, point)));
    }
    let folders = ["src/wire/", "src/runtime/", "src/planes/", "src/snapshot/"];
    record.expect_all_of(&folders, &["mirror.head"]);

    let count = points.len();
    let free = Mutex::new(vec![place]);
    let reached = at_each(points, async |(from, point)| {
        let place = free.lock().await.pop();
        let mut place = match place {
            Some(place) => place,
            None => Place::new().await,
        };
        let reached = place.crash(from, &point).await;
        free.lock().await.push(place);
        reached
    });
    let reached = reached.await;
    eprintln!("data plane: {reached} of {count} points reached");
    assert!(reached * 10 >= count * 9, "only {reached} of {count} points were reached");
    assert!(reached >= 100, "{reached} points are too few");
}
