//! `snapshot` and `rollback` as an operator runs them, beside a running control plane.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Cluster, poll};

/// Runs the binary on the control plane's database; returns its exit code, output and errors.
fn run(cluster: &Cluster, line: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
    command.env_clear().env("KONG_PREFIX", cluster.prefix("cp")).env("USER", "ann");
    let output = command.args(line.split_whitespace()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Runs it and returns what it says, which must be success.
fn done(cluster: &Cluster, line: &str) -> String {
    let (code, said, error) = run(cluster, line);
    assert_eq!(code, 0, "{line}: {said}{error}");
    said
}

/// Runs it and returns its JSON.
fn json_of(cluster: &Cluster, line: &str) -> Value {
    serde_json::from_str(&done(cluster, line)).unwrap()
}

/// Runs it and checks why it fails.
fn fails(cluster: &Cluster, line: &str, why: &str) {
    let (code, said, error) = run(cluster, line);
    assert_eq!(code, 1, "{line}: {said}");
    assert!(error.contains(why), "{line}: {error}");
}

/// Makes twelve services as one event, each with a route, and a key-auth plugin with a secret.
async fn populated() -> Cluster {
    let cluster = Cluster::without_data().await;
    let mut operations = Vec::new();
    for n in 0..12 {
        let (service, route) = (format!("/services/s{n}"), format!("/routes/r{n}"));
        let of = json!({"paths": [format!("/{n}")], "service": {"name": format!("s{n}")}});
        operations.push(json!({"method": "PUT", "path": service, "body": {"host": "a"}}));
        operations.push(json!({"method": "PUT", "path": route, "body": of}));
    }
    let answer = cluster.call("POST", "/batch", &operations.into()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    cluster
}

fn head(cluster: &Cluster) -> (u64, String) {
    let head = cluster.control.as_ref().unwrap().writer.head();
    (head.seq.0, head.config_hash.to_hex())
}

/// Waits until the running control plane has noticed a write of the command line.
async fn noticed(cluster: &Cluster, seq: u64) {
    let seen = poll(async || (head(cluster).0 == seq).then_some(())).await;
    assert!(seen.is_some(), "{:?}", head(cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_tried_guarded_forced_and_told_of() {
    let cluster = populated().await;
    cluster.put("/services/s1", json!({"host": "b"})).await;
    let tried = done(&cluster, "rollback 1 --dry-run");
    assert!(tried.contains("    host: \"b\" -> \"a\"\n"), "{tried}");
    fails(
        &cluster,
        "rollback 0 --dry-run",
        "this would remove 12 of 12 routes and 12 of 12 services",
    );
    fails(&cluster, "rollback 0", "say --force if it is meant");
    assert_eq!(head(&cluster).0, 2);

    let line = "rollback 0 --force --reason decommissioned --json";
    assert_eq!(json_of(&cluster, line)["seq"], 3);
    noticed(&cluster, 3).await;
    let event = cluster.call("GET", "/events/3", &Value::Null).await.json();
    assert_eq!(
        (&event["actor"], &event["reason"], &event["kind"]),
        (&json!("ann"), &json!("decommissioned"), &json!("rolled_back"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_is_imported_with_the_same_hash() {
    let cluster = populated().await;
    let (_, hash) = head(&cluster);
    let at = |name: &str| cluster.directory.path().join(name).display().to_string();
    for (file, format) in [("a.yml", "yaml"), ("a.json.gz", "file")] {
        let line = format!("snapshot export --hash {} --format {format} {}", &hash[..8], at(file));
        done(&cluster, &line);
    }
    done(&cluster, "rollback 0 --force");
    noticed(&cluster, 2).await;
    let tried = done(&cluster, &format!("snapshot import {} --dry-run", at("a.yml")));
    assert!(tried.ends_with("24 changes would be made.\n"), "{tried}");
    let imported = json_of(&cluster, &format!("snapshot import {} --json", at("a.yml")));
    assert_eq!(imported, json!({"seq": 3, "config_hash": hash, "changed": true}));
    let again = json_of(&cluster, &format!("snapshot import {} --json", at("a.json.gz")));
    assert_eq!(again["changed"], false);

    std::fs::write(at("empty.yml"), "_format_version: \"3.0\"\n").unwrap();
    fails(&cluster, &format!("snapshot import {}", at("empty.yml")), "say --force");
    done(&cluster, &format!("snapshot import {} --force", at("empty.yml")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_is_by_field_and_hides_secrets() {
    let cluster = populated().await;
    cluster.put("/consumers/ann", json!({})).await;
    let credential = json!({"key": "very-secret"});
    let made = cluster.call("POST", "/consumers/ann/key-auth", &credential).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let text = done(&cluster, "snapshot diff 1 3");
    assert!(text.contains("+ consumers ") && text.contains("    key: \"***\"\n"), "{text}");
    let lines = done(&cluster, "snapshot diff 1 3 --json");
    assert_eq!(lines.lines().count(), 2);
    assert!(!text.contains("very-secret") && !lines.contains("very-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_snapshots_are_verified_and_cleared_away() {
    let mut cluster = populated().await;
    for host in ["b", "c"] {
        cluster.put("/services/s1", json!({"host": host})).await;
        // A control plane stores the newest snapshot when it stops.
        cluster.stop_control().await;
        cluster.start_control().await;
    }
    assert_eq!(done(&cluster, "snapshot verify"), "2 stored snapshots, all whole.\n");
    // What a pin refers to stays, however old it is.
    let pin = json_of(&cluster, "pin set 2 --labels region=eu --json");
    let spared = json_of(&cluster, "snapshot gc --keep 1 --age 0 --json");
    assert_eq!(spared["snapshots_kept"], 2, "{spared}");
    done(&cluster, &format!("pin remove {}", pin["id"]));
    let tried = json_of(&cluster, "snapshot gc --keep 1 --age 0 --dry-run --json");
    assert_eq!(tried["snapshots_removed"].as_array().unwrap().len(), 1);
    let cleared = json_of(&cluster, "snapshot gc --keep 1 --age 0 --json");
    assert_eq!(cleared["nodes_removed"], tried["nodes_removed"]);
    assert_eq!(done(&cluster, "snapshot verify"), "1 stored snapshots, all whole.\n");
    assert_eq!(json_of(&cluster, "snapshot show 2 --json")["seq"], 2);
    // By default, what is young stays.
    assert_eq!(json_of(&cluster, "snapshot gc --json")["snapshots_kept"], 1);
}
