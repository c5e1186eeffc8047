//! Commands and starts that write files: a crash leaves the old file or the new one, and the next
//! try works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hybridctl::clock::Clock;
use hybridctl::planes::control::Control;
use serde_json::json;

use super::{Point, Record, at_each, was_killed, within};
use crate::harness::{Cluster, Directory};

/// Services that make a snapshot some nodes large.
const SERVICES: usize = 120;

/// How many hits of each failpoint are tried.
const HITS: usize = 11;

/// How long a control plane may take to start after a crash.
const RESTART_WITHIN: Duration = Duration::from_secs(3);

/// Each command and the file that it writes; of a folder the file that names what is in it.
const COMMANDS: [(&str, &str); 5] = [
    ("snapshot export -o OUT/config.json.gz", "config.json.gz"),
    ("snapshot export --format pack -o OUT/pack", "pack/head.json"),
    ("snapshot publish --to file://OUT/mirror", "mirror/head.json"),
    ("log export -o OUT/log", "log"),
    ("config db_export OUT/kong.yml", "kong.yml"),
];

/// What is not overwritten.
const ONCE: &str = "kong.yml";

fn command(line: &str, out: &Path, prefix: &Path) -> Command {
    let out = out.display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    command.args(line.split(' ').map(|word| word.replace("OUT", &out)));
    command.arg("-p").arg(prefix).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn run(line: &str, out: &Path, prefix: &Path) {
    if line.contains(ONCE) {
        let _ = fs::remove_file(out.join(ONCE));
    }
    let status = command(line, out, prefix).status().unwrap();
    assert!(status.success(), "{line}: {status}");
}

/// Copies a folder with what is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What the commands have written before, and write now.
struct Place {
    prefix: PathBuf,
    old: PathBuf,
    new: PathBuf,
    /// Where they are.
    _cluster: Cluster,
}

impl Place {
    async fn new() -> Self {
        let mut cluster = Cluster::without_data().await;
        let folder = |name: &str| cluster.directory.path().join(name);
        let (prefix, old, new) = (cluster.prefix("cp"), folder("old"), folder("new"));
        fs::create_dir(&old).unwrap();
        let services: Vec<_> = (0..SERVICES)
            .map(|id| {
                let path = format!("/services/s{id}");
                json!({"method": "PUT", "path": path, "body": {"host": "old"}})
            })
            .collect();
        assert_eq!(cluster.call("POST", "/batch", &services.into()).await.status, 200);
        for (line, _) in COMMANDS {
            run(line, &old, &prefix);
        }
        cluster.put("/services/s7", json!({"host": "new"})).await;
        cluster.stop_control().await;
        fs::remove_file(old.join(ONCE)).unwrap();
        copy(&old, &new);
        for (line, _) in COMMANDS {
            run(line, &new, &prefix);
        }
        Self { prefix, old, new, _cluster: cluster }
    }

    /// Returns the points of a command.
    fn points(&self, line: &str, record: &Record) -> Vec<Point> {
        let directory = Directory::new();
        copy(&self.old, directory.path());
        let own = Record::new(directory.path());
        let mut command = command(line, directory.path(), &self.prefix);
        own.attach(&mut command);
        assert!(command.status().unwrap().success(), "{line}");
        own.append_to(record);
        own.points_of(|name| !name.starts_with("sqlite."), HITS)
    }

    fn crash(&self, line: &str, file: &str, point: &Point) -> bool {
        let directory = Directory::new();
        let out = directory.path();
        copy(&self.old, out);
        let mut armed = command(line, out, &self.prefix);
        point.arm(&mut armed);
        let killed = was_killed(armed.status().unwrap(), point);

        let read = |folder: &Path| fs::read(folder.join(file)).ok();
        let (old, new, left) = (read(&self.old), read(&self.new), read(out));
        assert!(left == old || left == new, "{line} {point}: {file} is neither old nor new");
        let verify = |at: &str| {
            let line = format!("snapshot verify OUT/{at}");
            run(&line, out, &self.prefix);
        };
        match file.split_once('/') {
            Some((folder, _)) => verify(folder),
            None if file.ends_with(".gz") => verify(file),
            None => {}
        }
        run(line, out, &self.prefix);
        assert_eq!(read(out), new, "{line} {point}: the next try writes something else");
        killed
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_command_leaves_the_old_file_or_the_new_one() {
    let directory = Directory::new();
    let record = Record::new(directory.path());
    let place = std::sync::Arc::new(Place::new().await);
    let mut points = Vec::new();
    for (line, file) in COMMANDS {
        let own = place.points(line, &record);
        assert!(own.len() >= 2, "{line}: {own:?}");
        points.extend(own.into_iter().map(|point| (line, file, point)));
    }
    let folders = ["src/cli/", "src/pki/", "src/wire/mirror/", "src/log/archive.rs"];
    record.expect_all_of(&folders, &[]);
    let count = points.len();
    let reached = at_each(points, async |(line, file, point)| {
        let place = place.clone();
        let crash = move || place.crash(line, file, &point);
        tokio::task::spawn_blocking(crash).await.unwrap()
    });
    let reached = reached.await;
    eprintln!("commands: {reached} of {count} points reached");
    assert!(reached * 10 >= count * 9, "only {reached} of {count} points were reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_died_while_it_made_a_certificate_does_not_hinder_the_next() {
    let cluster = Cluster::without_data().await;
    let env = |name: &str| {
        let env = [
            ("KONG_ROLE", "control_plane"),
            ("KONG_PREFIX", &cluster.prefix(name).display().to_string()),
            ("KONG_ADMIN_LISTEN", "127.0.0.1:0 ssl"),
            ("KONG_CLUSTER_LISTEN", "127.0.0.1:0"),
            ("KONG_STATUS_LISTEN", "off"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        cluster.env_with_certificate(env)
    };
    // Of the key, then of the certificate.
    let names = ["file.created", "file.written", "file.synced", "file.renamed"];
    let points = names.into_iter().flat_map(|name| [1, 2].map(|hit| (name, hit)));
    let points = points.map(|(name, hit)| Point { name: name.to_owned(), hit }).collect();
    let reached = at_each(points, async |point: Point| {
        let name = point.to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.arg("run").envs(env(&name)).stdout(Stdio::null()).stderr(Stdio::null());
        point.arm(&mut command);
        let status = tokio::task::spawn_blocking(move || command.status().unwrap()).await.unwrap();
        assert!(was_killed(status, &point));
        let sources = hybridctl::settings::Sources {
            conf: None,
            env: env(&name).into_iter().collect(),
            prefix: None,
        };
        let mut settings = hybridctl::settings::Settings::load(&sources).unwrap();
        settings.prepare().unwrap();
        let start = Control::start(&settings, Clock::System);
        let started = within(RESTART_WITHIN, start).await.expect("a start in time");
        started.unwrap_or_else(|why| panic!("{point}: {why:#}")).stop().await;
        true
    });
    assert_eq!(reached.await, 2 * names.len());
}
