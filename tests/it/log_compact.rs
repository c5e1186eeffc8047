//! `log compact` as an operator runs it: beside control planes that go on, on either database.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use hybridctl::domain::event::Seq;
use serde_json::{Value, json};

use crate::harness::{Cluster, poll};
use crate::http::Upstream;
use crate::log_commands::{done, hybridctl, json_lines};
use crate::postgres::Schema;

/// Sets the host of a service so many times.
async fn write(cluster: &Cluster, name: &str, events: u64) {
    for n in 0..events {
        let host = format!("h{n}.example");
        cluster.put(&format!("/services/{name}"), json!({"host": host})).await;
    }
}

fn one(said: &str) -> Value {
    json_lines(said).remove(0)
}

/// What the control plane answers after events 1 to 7 went to an archive; of those 3 is pinned.
async fn answers_say_where_the_past_is(cluster: &Cluster, first: &str, second: &str, third: &str) {
    for (method, path, body, status) in [
        ("GET", "/services?at=2".to_owned(), Value::Null, 410),
        ("GET", "/services?at=2020-01-01".to_owned(), Value::Null, 410),
        ("GET", "/services?at=7".to_owned(), Value::Null, 200),
        ("GET", "/services?at=3".to_owned(), Value::Null, 200),
        ("GET", format!("/services?at={third}"), Value::Null, 200),
        ("GET", format!("/services?at={second}"), Value::Null, 404),
        ("GET", "/events/2".to_owned(), Value::Null, 410),
        ("GET", "/events/8".to_owned(), Value::Null, 200),
        ("GET", "/events/11".to_owned(), Value::Null, 404),
        ("GET", "/events?after=6".to_owned(), Value::Null, 410),
        ("GET", "/events?after=6&follow=1".to_owned(), Value::Null, 410),
        ("GET", "/events?since=2020-01-01&name=s".to_owned(), Value::Null, 200),
        ("GET", "/snapshots".to_owned(), Value::Null, 200),
        ("GET", "/snapshots/2".to_owned(), Value::Null, 410),
        ("POST", "/rollback".to_owned(), json!({"to": 2}), 410),
    ] {
        let answer = cluster.call(method, &path, &body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        if status == 410 {
            let said = answer.json();
            assert_eq!((&said["oldest"], &said["last"]), (&json!(8), &json!(7)), "{said}");
            assert!(first.ends_with(said["archive"].as_str().unwrap()), "{said}");
        }
    }
    let events = cluster.call("GET", "/events?size=2&before=10", &Value::Null).await.json();
    assert_eq!((&events["oldest"], &events["next"]), (&json!(8), &Value::Null), "{events}");
    let snapshots = cluster.call("GET", "/snapshots", &Value::Null).await.json();
    assert_eq!(snapshots["data"].as_array().map(Vec::len), Some(3), "{snapshots}");
}

/// Moves events 8 to 11 away as well, and checks the log with both archives and with fewer.
fn archives_follow_each_other(cluster: &Cluster, first: &str, noted: &str) {
    let verify =
        |more: &[&str]| hybridctl(cluster, "cp", &[&["log", "verify", "--json"], more].concat());
    let (verified, said) = verify(&[]);
    assert!(verified && one(&said)["after"] == 7, "{said}");
    let again = ["log", "compact", "--json", "--before", "12"];
    let again = one(&done(cluster, "cp", &again));
    assert_eq!((&again["first"], &again["last"]), (&json!(8), &json!(11)));
    let second = again["archive"].as_str().unwrap().to_owned();
    let (verified, said) = verify(&["--archive", &second, first]);
    assert!(verified && one(&said)["after"].is_null(), "{said}");
    assert_eq!(one(&said)["events"], 13);
    assert!(verify(&["--archive", first, &second, "--head", noted]).0);
    let (verified, said) = verify(&["--head", noted]);
    assert!(!verified && said.contains("give its --archive"), "{said}");
    let (verified, said) = verify(&["--archive", first]);
    assert!(!verified && said.contains("event 8 is missing"), "{said}");
}

/// What commands say after events 1 to 11 went to archives.
fn commands_say_where_the_past_is(cluster: &Cluster) {
    for (arguments, wrong) in [
        (&["log", "replay", "--to", "2"][..], "2 is in the archive log-000000000001"),
        (&["log", "show", "--seq", "2..9"], "the oldest event of this log is 12"),
        (&["log", "bisect", "--good", "3", "--run", "true"], "4 is in the archive"),
        (&["rollback", "9"], "9 is in the archive log-000000000008"),
        (&["log", "compact"], "required"),
    ] {
        let (did, said) = hybridctl(cluster, "cp", arguments);
        assert!(!did && said.contains(wrong), "{arguments:?}: {said}");
    }
    let shown = json_lines(&done(cluster, "cp", &["log", "show", "--json"]));
    assert_eq!(shown.iter().map(|line| &line["seq"]).collect::<Vec<_>>(), [12, 13]);
    let said = done(cluster, "cp", &["log", "blame", "routes", "a", "paths"]);
    assert!(said.contains("paths: [\"/a\"]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_compacted_beside_a_control_plane_and_verifies_with_its_archives() {
    let upstream = Upstream::start("blue").await;
    let mut cluster = Cluster::start().await;
    write(&cluster, "s", 4).await;
    let events = cluster.call("GET", "/events", &Value::Null).await.json();
    let hash_of = |seq: u64| {
        let mut events = events["data"].as_array().unwrap().iter();
        let event = events.find(|event| event["seq"] == seq).unwrap();
        event["config_hash"].as_str().unwrap().to_owned()
    };
    let (second, third) = (hash_of(2), hash_of(3));
    let pin = json!({"labels": "region=eu", "to": 3});
    assert_eq!(cluster.call("POST", "/pins", &pin).await.status, 201);
    cluster.route("a", "/a", &upstream).await;
    write(&cluster, "s", 4).await;
    let before = cluster.control.as_ref().unwrap().writer.head();
    assert_eq!(before.seq, Seq(10));
    let compact =
        |more: &[&str]| one(&done(&cluster, "cp", &[&["log", "compact", "--json"], more].concat()));

    let told = compact(&["--keep-events", "3", "--dry-run"]);
    assert_eq!((&told["events"], &told["archive"]), (&json!(7), &Value::Null));
    assert_eq!(compact(&["--keep", "90d"])["events"], 0, "they are young");
    let moved = compact(&["--keep-events", "3"]);
    assert_eq!(
        (&moved["first"], &moved["last"], &moved["removed"]),
        (&json!(1), &json!(7), &json!(7))
    );
    let first = moved["archive"].as_str().unwrap().to_owned();
    assert!(first.ends_with("/archives/log-000000000001-000000000007.jsonl.gz"), "{first}");
    assert_eq!(std::fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);

    answers_say_where_the_past_is(&cluster, &first, &second, &third).await;

    // It goes on, back to what is stored as well, and its data planes follow.
    cluster.put("/services/t", json!({"host": "t.example"})).await;
    let back = cluster.call("POST", "/rollback", &json!({"to": 3, "force": true})).await;
    assert_eq!(back.status, 200, "{}", back.body);
    cluster.call("POST", "/rollback", &json!({"to": before.config_hash})).await;
    cluster.until("/a", |answer| answer.status == 200).await;
    cluster.converge().await;

    let noted = format!("7:{}", &moved["hash"].as_str().unwrap()[..12]);
    archives_follow_each_other(&cluster, &first, &noted);
    commands_say_where_the_past_is(&cluster);
    done(&cluster, "cp", &["log", "compact", "--keep-events", "1", "--vacuum"]);
    done(&cluster, "cp", &["snapshot", "gc", "--keep", "1", "--age", "0"]);

    let head = cluster.control.as_ref().unwrap().writer.head();
    cluster.stop_control().await;
    cluster.start_control().await;
    let restarted = cluster.control.as_ref().unwrap().writer.head();
    assert_eq!(restarted.tip(), head.tip());
    assert_eq!(cluster.call("GET", "/services?at=3", &Value::Null).await.status, 200, "pinned");
    cluster.until("/a", |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_log_goes_to_another_machine_with_its_archives_and_without() {
    let cluster = Cluster::without_data().await;
    write(&cluster, "s", 9).await;
    let archive = cluster.prefix("a.gz").display().to_string();
    done(&cluster, "cp", &["log", "compact", "--keep-events", "4", "--archive", &archive]);
    let rest = cluster.prefix("rest.jsonl").display().to_string();
    done(&cluster, "cp", &["log", "export", "-o", &rest]);
    let verify = |prefix: &str| one(&done(&cluster, prefix, &["log", "verify", "--json"]));
    let end = verify("cp");

    let (imported, said) = hybridctl(&cluster, "half", &["log", "import", &archive, &archive]);
    assert!(!imported && said.contains("does not begin where"), "{said}");
    done(&cluster, "alone", &["log", "import", &rest]);
    assert_eq!(verify("alone"), end);
    for _ in 0..2 {
        // In any order, and once more as after an import that was cut off.
        done(&cluster, "whole", &["log", "import", &rest, &archive]);
    }
    let whole = verify("whole");
    assert_eq!((&whole["hash"], &whole["after"]), (&end["hash"], &Value::Null));
    let shown = json_lines(&done(&cluster, "whole", &["log", "show", "--json", "--seq", "1.."]));
    assert_eq!(shown.len(), 9);
    let shown = json_lines(&done(&cluster, "alone", &["log", "show", "--json", "--last", "50"]));
    assert_eq!(shown[0]["seq"], 6);
    assert_eq!(shown[0]["changes"][0]["fields"]["host"]["from"], "h4.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_planes_of_one_postgres_go_on_when_its_log_is_compacted() {
    let schema = Schema::new();
    schema.migrate().await;
    let one = Cluster::without_data_with(schema.env()).await;
    let two = Cluster::without_data_with(schema.env()).await;
    write(&one, "s", 12).await;
    let archives = one.prefix("archives/");
    let compact = |keep: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.env_clear().env("KONG_PREFIX", one.prefix("tool")).envs(schema.env());
        command.args(["log", "compact", "--keep-events", keep, "--json", "--archive"]);
        let output = command.arg(&archives).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        self::one(&said)
    };
    assert_eq!(compact("1")["removed"], 11);
    write(&two, "t", 3).await;
    assert_eq!(compact("1")["removed"], 3);
    write(&one, "u", 3).await;
    let wanted = one.control.as_ref().unwrap().writer.head();
    let follows = async || {
        let head = two.control.as_ref().unwrap().writer.head();
        (head.tip() == wanted.tip()).then_some(())
    };
    assert!(poll(follows).await.is_some());
    // One that starts with an empty memory.
    let three = Cluster::without_data_with(schema.env()).await;
    assert_eq!(three.control.as_ref().unwrap().writer.head().tip(), wanted.tip());
    let gone = three.call("GET", "/services?at=5", &Value::Null).await;
    assert_eq!(gone.status, 410, "{}", gone.body);
}
