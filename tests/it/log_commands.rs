//! The commands about the log, as an operator runs them: beside a control plane, and on a copy of
//! its database.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use hybridctl::clock::Clock;
use hybridctl::planes::trial::{Trial, TrialSettings};
use serde_json::{Value, json};

use crate::disconnected::until_closed;
use crate::harness::{Cluster, poll};
use crate::http::{self, Upstream};

/// Runs the binary in a prefix; returns whether it did what it was asked for, and what it said.
pub(crate) fn hybridctl(cluster: &Cluster, prefix: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    let output = command
        .args(arguments)
        .env_clear()
        .env("KONG_PREFIX", cluster.prefix(prefix))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[track_caller]
pub(crate) fn done(cluster: &Cluster, prefix: &str, arguments: &[&str]) -> String {
    let (done, said) = hybridctl(cluster, prefix, arguments);
    assert!(done, "{arguments:?}: {said}");
    said
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Puts the log of one prefix into another one, when both are closed. What SQLite wrote last may be in a
/// file of its own then, too: connections that close together leave it to each other to take that in.
async fn copy_log(cluster: &Cluster, from: &str, to: &str) {
    let (from, to) = (cluster.prefix(from), cluster.prefix(to));
    std::fs::create_dir_all(&to).unwrap();
    for prefix in [&from, &to] {
        until_closed(prefix).await;
    }
    for name in ["hybrid.db", "hybrid.db-wal", "hybrid.db-shm"] {
        let _absent = std::fs::remove_file(to.join(name));
        if !name.ends_with("-shm") && from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_explained_and_blamed() {
    let cluster = Cluster::without_data().await;
    cluster.put("/services/a", json!({"host": "one.example", "port": 80})).await;
    cluster.put("/services/b", json!({"host": "b.example"})).await;
    cluster.put("/services/a", json!({"host": "two.example", "port": 80, "path": "/p"})).await;
    cluster.put("/consumers/c", json!({})).await;
    cluster.put("/consumers/c/key-auth/k", json!({"key": "top-secret"})).await;
    cluster.call("DELETE", "/services/b", &Value::Null).await;
    let show = |more: &[&str]| {
        let said = done(&cluster, "cp", &[&["log", "show", "--json"], more].concat());
        let lines = json_lines(&said);
        let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        (seqs, lines)
    };

    let (seqs, lines) = show(&[]);
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    let changed = &lines[2]["changes"][0];
    assert_eq!(changed["fields"]["host"], json!({"from": "one.example", "to": "two.example"}));
    assert_eq!(changed["fields"]["path"], json!({"from": null, "to": "/p"}));
    let hash = lines[3]["config_hash"].as_str().unwrap().to_owned();
    let id = changed["id"].as_str().unwrap().to_owned();
    for (filter, wanted) in [
        (&["--last", "2"][..], &[5, 6][..]),
        (&["--seq", "2..3"], &[2, 3]),
        (&["--seq", "5.."], &[5, 6]),
        (&["--kind", "consumers"], &[4]),
        (&["--name", "b"], &[2, 6]),
        (&["--id", &id], &[1, 3]),
        (&["--id", &id, "--last", "1"], &[3]),
        (&["--hash", &hash[..10]], &[4]),
        (&["--actor", "nobody"], &[]),
        (&["--since", "2000-01-01", "--seq", "..2"], &[1, 2]),
        (&["--until", "2000-01-01"], &[]),
        (&["--type", "rolled_back"], &[]),
    ] {
        assert_eq!(show(filter).0, wanted, "{filter:?}");
    }
    let text = done(&cluster, "cp", &["log", "show"]);
    assert!(text.contains("host: \"one.example\" -> \"two.example\""), "{text}");
    assert!(!text.contains("top-secret") && text.contains("key: \"***\""), "{text}");

    let blame = |more: &[&str]| {
        json_lines(&done(&cluster, "cp", &[&["log", "blame", "--json"], more].concat())).remove(0)
    };
    let fields = &blame(&["services", "a"])["fields"];
    for (field, seq) in [("host", 3), ("path", 3), ("port", 1), ("name", 1)] {
        assert_eq!(fields[field]["event"]["seq"], seq, "{field}");
    }
    let host = &blame(&["service", &id, "host", "--at", "2"])["fields"]["host"];
    assert_eq!((&host["value"], &host["event"]["seq"]), (&json!("one.example"), &json!(1)));
    let (known, said) = hybridctl(&cluster, "cp", &["log", "blame", "services", "b"]);
    assert!(!known && said.contains("no services are called \"b\""), "{said}");
    let gone = lines[1]["changes"][0]["id"].as_str().unwrap();
    let (known, said) = hybridctl(&cluster, "cp", &["log", "blame", "services", gone]);
    assert!(!known && said.contains("event 6 deleted it"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_events_as_they_come() {
    use std::io::{BufRead as _, BufReader};
    let cluster = Cluster::without_data().await;
    cluster.put("/services/a", json!({"host": "a.example"})).await;
    let mut follower = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
        .args(["log", "show", "--follow", "--json", "--name", "a"])
        .env_clear()
        .env("KONG_PREFIX", cluster.prefix("cp"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    cluster.put("/services/b", json!({"host": "b.example"})).await;
    cluster.put("/services/a", json!({"host": "c.example"})).await;
    let second: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert_eq!((&first["seq"], &second["seq"]), (&json!(1), &json!(3)));
    assert_eq!(second["changes"][0]["fields"]["host"]["from"], "a.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_through_a_file_to_another_database() {
    let mut cluster = Cluster::without_data().await;
    for host in ["a", "b", "c"] {
        cluster.put("/services/s", json!({"host": format!("{host}.example")})).await;
    }
    let file = cluster.prefix("log.jsonl").display().to_string();
    done(&cluster, "cp", &["log", "export", "-o", &file]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let imported = done(&cluster, "new", &["log", "import", &file, "--json"]);
    let imported = json_lines(&imported).remove(0);
    assert_eq!(imported["events"], 3);
    let verify = |prefix: &str, more: &[&str]| {
        hybridctl(&cluster, prefix, &[&["log", "verify", "--json"], more].concat())
    };
    assert_eq!(verify("cp", &[]), verify("new", &[]));
    let end = json_lines(&verify("cp", &[]).1).remove(0);
    let noted = format!("3:{}", &end["hash"].as_str().unwrap()[..12]);
    assert!(verify("new", &["--head", &noted]).0);
    for (head, wrong) in
        [("4:00000000", "is cut off"), ("2:00000000", "not the one that was noted")]
    {
        let (verified, said) = verify("new", &["--head", head]);
        assert!(!verified && said.contains(wrong), "{said}");
    }

    cluster.put("/services/t", json!({"host": "t.example"})).await;
    let (refused, said) = hybridctl(&cluster, "cp", &["log", "import", &file]);
    assert!(!refused && said.contains("log is not empty"), "{said}");
    cluster.stop_control().await;
}

/// The rollback of a whole database: what data planes have served is newer than what there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_follows_an_older_copy_of_the_log_once_its_epoch_was_raised() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let mut cluster = Cluster::start().await;
    cluster.route("a", "/a", &blue).await;
    cluster.until("/a", |answer| answer.json()["name"] == "blue").await;
    cluster.stop_control().await;
    copy_log(&cluster, "cp", "copy").await;
    cluster.start_control().await;
    let url = format!("http://{}", green.address);
    cluster.put("/services/a", json!({"url": url})).await;
    cluster.put("/services/b", json!({"url": url})).await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
    cluster.converge().await;
    let newest = cluster.data.as_ref().unwrap().config_hash();
    cluster.stop_control().await;

    // The database is lost; its copy is of two events ago.
    copy_log(&cluster, "copy", "cp").await;
    cluster.start_control().await;
    let restored = cluster.control.as_ref().unwrap().writer.head();
    let data = cluster.data.as_ref().unwrap();
    let refused = format!("head {} refused", restored.seq);
    let refuses = async || data.last_link_error().filter(|error| error.starts_with(&refused));
    assert!(poll(refuses).await.is_some(), "{refused}: {:?}", data.last_link_error());
    assert_eq!(cluster.data.as_ref().unwrap().config_hash(), newest, "it keeps what is newer");
    cluster.stop_control().await;

    copy_log(&cluster, "copy", "cp").await;
    let said = done(&cluster, "cp", &["log", "new-epoch", "--json"]);
    assert_eq!(json_lines(&said)[0]["seq"], json!(restored.seq));
    cluster.start_control().await;
    cluster.until("/a", |answer| answer.json()["name"] == "blue").await;
    cluster.converge().await;
    // And from then on as ever, over a restart of the data plane too.
    cluster.stop_data().await;
    cluster.start_data().await;
    cluster.put("/services/a", json!({"url": url})).await;
    cluster.until("/a", |answer| answer.json()["name"] == "green").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_that_broke_something_is_found() {
    let mut cluster = Cluster::without_data().await;
    for port in 1..=9 {
        cluster.put("/services/s", json!({"host": "s.example", "port": port})).await;
    }
    cluster.stop_control().await;
    let bisect = |more: &[&str]| hybridctl(&cluster, "cp", &[&["log", "bisect"], more].concat());
    let broken = "test -n \"$HYBRIDCTL_PROXY\" && test $HYBRIDCTL_SEQ -lt 6";

    let (found, said) = bisect(&["--good", "1", "--run", broken]);

    assert!(found && said.contains("The first bad event:\n6 "), "{said}");
    assert!(said.contains("        port: 5 -> 6"), "{said}");
    let unsure = "test $HYBRIDCTL_SEQ = 5 && exit 125; test $HYBRIDCTL_SEQ -lt 5";
    let (found, said) = bisect(&["--good", "1", "--bad", "8", "--json", "--run", unsure]);
    let line = said.lines().find(|line| line.starts_with('{')).unwrap();
    let found_line: Value = serde_json::from_str(line).unwrap();
    let seqs = found_line["events"].as_array().unwrap().iter().map(|event| &event["seq"]);
    assert!(found && seqs.eq([&json!(5), &json!(6)]), "{said}");
    for (arguments, wrong) in [
        (&["--good", "9", "--run", "true"][..], "has to be before"),
        (&["--good", "1", "--run", "true"], "says good of 9, which should be bad"),
        (&["--good", "1", "--run", "false"], "says bad of 1, which should be good"),
        (&["--good", "1", "--run", "exit 200"], "ended the search at 1 with exit code 200"),
    ] {
        let (found, said) = bisect(arguments);
        assert!(!found && said.contains(wrong), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_is_tried_on_a_data_plane_that_leaves_nothing_behind() {
    let upstream = Upstream::start("blue").await;
    let cluster = Cluster::without_data().await;
    cluster.route("a", "/a", &upstream).await;
    let head = cluster.control.as_ref().unwrap().writer.head();
    let catalog = hybridctl::planes::catalog(&cluster.settings("cp", &[])).unwrap();
    let settings = TrialSettings::of(&cluster.settings("cp", &[]));
    let trial = Trial::start(&settings, &catalog, &head.snapshot, Clock::System).await.unwrap();
    assert!(trial.serves(head.config_hash));
    assert_eq!(http::get(trial.proxy(), "/a").await.unwrap().json()["name"], "blue");
    let directory = trial.directory().to_owned();
    let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it holds secrets");
    trial.stop().await;
    assert!(!directory.exists());
}
