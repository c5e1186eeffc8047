//! Several control planes on one Postgres: each writes, all see it, and an outage passes.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use hybridctl::clock::Clock;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::decide::Fresh;
use hybridctl::domain::entity::Entity;
use hybridctl::domain::event::{Change, EventKind, Origin, Seq};
use hybridctl::domain::kinds::service;
use hybridctl::writer::{Writer, audit};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Cluster, poll};
use crate::http::{self, Answer, Upstream};
use crate::postgres::{self, Schema};

/// Waits until a control plane runs what another one has.
async fn follows(one: &Cluster, other: &Cluster) {
    let wanted = other.control.as_ref().unwrap().writer.head();
    let mut heads = one.control.as_ref().unwrap().writer.subscribe();
    let there = heads.wait_for(|head| head.seq >= wanted.seq);
    let there = tokio::time::timeout(Duration::from_secs(20), there).await.unwrap().unwrap();
    assert_eq!((there.seq, there.config_hash), (wanted.seq, wanted.config_hash));
}

async fn served(cluster: &Cluster, path: &str) {
    cluster.until(path, |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_either_control_plane_reaches_both_and_all_data_planes() {
    let schema = Schema::new();
    schema.migrate().await;
    let upstream = Upstream::start("blue").await;
    let one = Cluster::start_with(schema.env()).await;
    let two = Cluster::start_with(schema.env()).await;

    one.route("a", "/a", &upstream).await;
    follows(&two, &one).await;
    assert_eq!(two.call("GET", "/routes/a", &Value::Null).await.status, 200);
    two.route("b", "/b", &upstream).await;
    follows(&one, &two).await;

    for cluster in [&one, &two] {
        served(cluster, "/a").await;
        served(cluster, "/b").await;
        cluster.converge().await;
    }
    // What one refuses because of the other's write: names are unique across both.
    let again = one.call("POST", "/services", &json!({"name": "b", "host": "x"})).await;
    assert_eq!(again.status, 409, "{}", again.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_goes_over_to_another_control_plane_of_the_database() {
    let schema = Schema::new();
    schema.migrate().await;
    let upstream = Upstream::start("blue").await;
    let mut one = Cluster::without_data_with(schema.env()).await;
    let two = Cluster::without_data_with(one.env_with_certificate(schema.env())).await;
    let address = |cluster: &Cluster| cluster.control.as_ref().unwrap().cluster[0].to_string();
    let both = format!("{},{}", address(&one), address(&two));
    one.start_data_in("dp", &[("KONG_CLUSTER_CONTROL_PLANE", &both)]).await;
    one.route("a", "/a", &upstream).await;
    served(&one, "/a").await;

    one.stop_control().await;
    two.route("b", "/b", &upstream).await;
    served(&one, "/b").await;
}

async fn reachable(cluster: &Cluster) -> Value {
    cluster.call("GET", "/status", &Value::Null).await.json()["database"]["reachable"].clone()
}

fn unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.body);
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("the database cannot be reached"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_control_plane_serves_on_and_recovers_alone() {
    let mut server = postgres::start(&[], &[]);
    let schema = Schema::on(&server);
    schema.migrate().await;
    let upstream = Upstream::start("blue").await;
    let mut one = Cluster::start_with(schema.env()).await;
    let two = Cluster::without_data_with(schema.env()).await;
    one.route("a", "/a", &upstream).await;
    served(&one, "/a").await;

    server.crash();
    let write = json!({"name": "late", "host": "late"});
    unavailable(&one.call("POST", "/services", &write).await);
    unavailable(&one.call("DELETE", "/routes/a", &Value::Null).await);
    assert_eq!(reachable(&one).await, json!(false));
    assert_eq!(one.call("GET", "/routes/a", &Value::Null).await.status, 200);
    // A data plane that comes now gets its first config from memory.
    one.stop_data().await;
    one.start_data_in("dp2", &[]).await;
    served(&one, "/a").await;
    one.converge().await;

    server.resume().unwrap();
    let written = poll(async || {
        // One that was in doubt may have happened: it is put, not made.
        let answer = one.call("PUT", "/services/late", &json!({"host": "late"})).await;
        (answer.status == 200).then_some(())
    });
    assert!(written.await.is_some(), "the control plane does not recover");
    assert_eq!(reachable(&one).await, json!(true));
    one.converge().await;
    follows(&two, &one).await;
    two.route("b", "/b", &upstream).await;
    served(&one, "/b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_disagree_change_nothing() {
    let schema = Schema::new();
    let catalog = Arc::new(Catalog::new(Vec::new()));
    let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
    let mut writers = Vec::new();
    for (seed, skew) in [(1, -1), (2, 1)] {
        let clock = Clock::seeded(now + TimeDelta::hours(skew), seed);
        let opened = Writer::open(schema.open().await, catalog.clone(), clock.clone()).await;
        let (writer, task) = opened.unwrap();
        tokio::spawn(task.run(std::future::pending()));
        writers.push(writer);
    }
    for number in 0..10_u64 {
        let writer = &writers[usize::from(number % 2 == 0)];
        let document = json!({"id": Uuid::from_u128(number.into()), "host": "a"});
        let entity = Entity::new(service::KIND, document.as_object().unwrap()).unwrap();
        let origin = Origin {
            actor: "ann".into(),
            request_id: number.to_string(),
            source: "test".into(),
            kind: EventKind::Written,
            reason: None,
        };
        let decide =
            move |_: &_, _: &mut Fresh<'_>| Ok((vec![Change::Upserted(entity.clone())], ()));
        let ((), head) = writer.write(origin, decide).await.unwrap();
        assert_eq!(head.seq, Seq(number + 1), "order is that of the log, whatever the time");
    }
    for writer in &writers {
        let mut heads = writer.subscribe();
        heads.wait_for(|head| head.seq == Seq(10)).await.unwrap();
    }
    assert_eq!(writers[0].head().config_hash, writers[1].head().config_hash);
    audit::verify(writers[0].history()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_beside_a_control_plane_on_sqlite_is_noticed() {
    let cluster = Cluster::start().await;
    let upstream = Upstream::start("blue").await;
    cluster.route("a", "/a", &upstream).await;
    served(&cluster, "/a").await;
    let file = cluster.directory.path().join("more.yml");
    let more = format!(
        "_format_version: '3.0'\nservices:\n- name: b\n  url: http://{}\n  \
         routes:\n  - name: b\n    paths: [/b]\n",
        upstream.address
    );
    std::fs::write(&file, more).unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_hybridctl"))
        .args(["config", "db_import"])
        .arg(&file)
        .arg("-p")
        .arg(cluster.prefix("cp"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    served(&cluster, "/b").await;
    assert_eq!(http::get(cluster.admin(), "/routes/b").await.unwrap().status, 200);
}
