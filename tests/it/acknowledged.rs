//! Two control planes under random writes, with a crash of the database and a kill of one of them:
//! what clients were told is checked against the log.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hybridctl::clock::Clock;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::event::{Change, Seq};
use hybridctl::log::{EventLog, LogDatabase};
use hybridctl::planes;
use hybridctl::writer::history::History;
use hybridctl::writer::{Writer, audit};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use throwaway_postgres::Server;
use uuid::Uuid;

use crate::durability::ControlProcess;
use crate::harness::{Cluster, Directory, own_address, poll};
use crate::http;
use crate::postgres::{self, Schema};

const CLIENTS: u64 = 4;

/// Each client writes to keys of its own, so that it knows their order.
const KEYS: u128 = 3;

/// How many answered writes each client goes on for.
const ACKNOWLEDGED: usize = 25;

/// One write as its client saw it.
struct Write {
    key: Uuid,
    /// The host that it put there, which no other write has; none for a deletion.
    host: Option<String>,
    began: Instant,
    ended: Instant,
    /// Whether it was answered; if not, it happened or it did not.
    acknowledged: bool,
}

/// Returns how many seeds to try: more by the variable `SEEDS`.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_and_there_is_one_order() {
    let mut server = postgres::start(&[], &[]);
    for seed in 0..seeds() {
        disturb(&mut server, seed).await;
    }
}

async fn disturb(server: &mut Server, seed: u64) {
    let schema = Schema::on(server);
    schema.migrate().await;
    let one = Cluster::without_data_with(schema.env()).await;
    let directory = Directory::new();
    let pair = directory.pair("cluster");
    let address = own_address();
    let env = schema.env();
    let two = ControlProcess::start(&directory, &pair, address, &env).await;

    let done = Arc::new(AtomicUsize::new(0));
    let planes = [one.admin(), address];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(write(seed * CLIENTS + client, planes, done.clone())))
        .collect();
    let total = CLIENTS as usize * ACKNOWLEDGED;
    let until = async |part: usize| {
        let reached = async || (done.load(Ordering::Relaxed) >= total * part / 4).then_some(());
        assert!(poll(reached).await.is_some(), "seed {seed}: the writers do not get on");
    };
    until(1).await;
    server.crash();
    server.resume().unwrap();
    until(2).await;
    two.kill();
    until(3).await;
    let two = ControlProcess::start(&directory, &pair, address, &env).await;
    let mut writes = Vec::new();
    for client in clients {
        writes.push(client.await.unwrap());
    }

    let log = schema.open().await;
    let catalog = Arc::new(planes::catalog(&schema.settings(&[])).unwrap());
    agree(&one, address, log.clone(), &catalog).await;
    two.kill();
    check(seed, &writes, &*log, &catalog).await;
}

/// Writes at random, to either control plane, until enough was answered.
async fn write(seed: u64, planes: [SocketAddr; 2], done: Arc<AtomicUsize>) -> Vec<Write> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    let mut writes = Vec::new();
    let mut acknowledged = 0;
    while acknowledged < ACKNOWLEDGED {
        let key = Uuid::from_u128(u128::from(seed + 1) * KEYS + random.random_range(0..KEYS));
        let host = (random.random_range(0..4) > 0).then(|| format!("h{seed}-{}", writes.len()));
        let plane = planes[random.random_range(0..2)];
        let path = format!("/services/{key}");
        let began = Instant::now();
        let answer = match &host {
            Some(host) => {
                let json = [("Content-Type", "application/json")];
                http::send(plane, "PUT", &path, &json, &json!({"host": host}).to_string()).await
            }
            None => http::send(plane, "DELETE", &path, &[], "").await,
        };
        let (ended, status) = (Instant::now(), answer.map_or(0, |answer| answer.status));
        assert!(matches!(status, 0 | 200 | 204 | 503), "unexpected answer {status}");
        let answered = matches!(status, 200 | 204);
        writes.push(Write { key, host, began, ended, acknowledged: answered });
        if answered {
            acknowledged += 1;
            done.fetch_add(1, Ordering::Relaxed);
        } else {
            pause.tick().await;
        }
    }
    writes
}

/// Waits until both control planes are at the end of the log, and compares what they hold.
async fn agree(one: &Cluster, two: SocketAddr, log: Arc<dyn LogDatabase>, catalog: &Arc<Catalog>) {
    let tip = log.tip().await.unwrap();
    let mut heads = one.control.as_ref().unwrap().writer.subscribe();
    heads.wait_for(|head| head.tip() == tip).await.unwrap();
    let list = async |plane| -> Value {
        http::get(plane, "/services?size=1000").await.unwrap().json()["data"].clone()
    };
    let expected = list(one.admin()).await;
    let same = poll(async || (list(two).await == expected).then_some(())).await;
    assert!(same.is_some(), "the control planes hold different entities");
    let again = Writer::open(log.clone(), catalog.clone(), Clock::System).await.unwrap().0.head();
    let head = heads.borrow().clone();
    assert_eq!((again.seq, again.config_hash), (head.seq, head.config_hash));
    let audited = audit::verify(&History::new(log, catalog.clone())).await.unwrap();
    assert_eq!(audited.config_hash, head.config_hash);
}

/// Finds each client's writes in the log: all that were answered, in the client's order, and
/// nothing else; and none after a write that began when it had been answered.
async fn check(seed: u64, clients: &[Vec<Write>], log: &dyn EventLog, catalog: &Catalog) {
    let mut events: BTreeMap<Uuid, Vec<(Seq, Option<String>)>> = BTreeMap::new();
    for row in log.read(Seq(0), 100_000).await.unwrap() {
        for change in row.event(catalog).unwrap().changes {
            let (key, host) = match &change {
                Change::Upserted(entity) => {
                    let document = entity.document();
                    (entity.key(), document["host"].as_str().map(str::to_owned))
                }
                Change::Deleted(key) => (*key, None),
            };
            events.entry(key.id).or_default().push((row.seq, host));
        }
    }
    let mut ordered = Vec::new();
    let mut present: BTreeMap<Uuid, bool> = BTreeMap::new();
    for write in clients.iter().flatten() {
        let events = events.entry(write.key).or_default();
        let is_there = present.entry(write.key).or_default();
        match events.first() {
            Some((seq, host)) if *host == write.host => {
                *is_there = host.is_some();
                ordered.push((write, *seq));
                events.remove(0);
            }
            _ => {
                let did_nothing = write.host.is_none() && !*is_there;
                let lost = write.acknowledged && !did_nothing;
                assert!(!lost, "seed {seed}: a write of {} to {} is lost", Told(write), write.key);
            }
        }
    }
    for (key, left) in events {
        assert!(left.is_empty(), "seed {seed}: nobody wrote {left:?} to {key}");
    }
    for (earlier, before) in ordered.iter().filter(|(write, _)| write.acknowledged) {
        for (later, after) in &ordered {
            let follows = later.began > earlier.ended;
            assert!(
                !follows || after > before,
                "seed {seed}: {after} was answered before {before}"
            );
        }
    }
}

/// What a write was, for the message.
struct Told<'a>(&'a Write);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.host.as_deref().unwrap_or("nothing"))
    }
}
