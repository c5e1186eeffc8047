//! A control plane that dies while clients write: what they were told is there after.

use std::net::SocketAddr;

use hybridctl::domain::event::Seq;
use hybridctl::planes;
use hybridctl::writer::audit;
use hybridctl::writer::history::History;
use serde_json::json;
use std::sync::Arc;

use super::Point;
use crate::durability::ControlProcess;
use crate::harness::{Directory, own_address};
use crate::http;
use crate::postgres::Schema;

/// How many writes a run tries at the most.
const WRITES: usize = 6;

/// The steps of one write in the order in which they come, as far as every database has them.
const STEPS: [&str; 4] =
    ["writer.decided", "writer.appended", "writer.published", "writer.answered"];

async fn put(admin: SocketAddr, number: usize) -> bool {
    let header = [("Content-Type", "application/json")];
    let body = json!({"username": format!("c{number}")}).to_string();
    let answer = http::send(admin, "PUT", &format!("/consumers/c{number}"), &header, &body).await;
    answer.is_ok_and(|answer| answer.status == 200)
}

/// Writes until the control plane dies, starts it again and counts.
async fn crash(env: &[(String, String)], pair: &(String, String), point: Point) {
    let directory = Directory::new();
    let admin = own_address();
    let mut armed = env.to_vec();
    armed.push(("HYBRIDCTL_FAIL_AT".to_owned(), point.to_string()));
    let control = ControlProcess::start(&directory, pair, admin, &armed).await;
    let mut acknowledged = 0;
    while acknowledged < WRITES && put(admin, acknowledged).await {
        acknowledged += 1;
    }
    assert!(acknowledged < WRITES, "{point}: it does not die");
    control.kill();

    let control = ControlProcess::start(&directory, pair, admin, env).await;
    let list = http::get(admin, "/consumers").await.unwrap().json();
    let kept = list["data"].as_array().unwrap().len();
    let is_known = point.name != "writer.decided";
    // The write under way was not told of; from when it is appended on, it has happened.
    assert_eq!(kept, acknowledged + usize::from(is_known), "{point}");
    for number in 0..kept {
        let found = http::get(admin, &format!("/consumers/c{number}")).await.unwrap();
        assert_eq!(found.status, 200, "{point}: c{number}");
    }
    assert!(put(admin, WRITES).await, "{point}: the next write");
    control.kill();
    let mut settings = env.to_vec();
    let prefix = directory.path().join("cp").display().to_string();
    settings.push(("KONG_PREFIX".to_owned(), prefix));
    verify(&settings, kept as u64 + 1, &point).await;
}

async fn verify(env: &[(String, String)], events: u64, point: &Point) {
    let env = env.iter().cloned().collect();
    let sources = hybridctl::settings::Sources { conf: None, env, prefix: None };
    let settings = hybridctl::settings::Settings::load(&sources).unwrap();
    let log = planes::database::open_stored(&settings).await.unwrap();
    let history = History::new(log, Arc::new(planes::catalog(&settings).unwrap()));
    let end = audit::verify(&history).await.unwrap_or_else(|why| panic!("{point}: {why:?}"));
    assert_eq!(end.seq, Seq(events), "{point}");
}

fn points() -> Vec<Point> {
    let at = |hit| STEPS.iter().map(move |name| Point { name: (*name).to_owned(), hit });
    at(1).chain(at(4)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_what_they_were_told_after_a_crash() {
    let directory = Directory::new();
    let pair = directory.pair("cluster");
    let runs = points().into_iter().flat_map(|point| [(point.clone(), false), (point, true)]);
    let count = super::at_each(runs.collect(), async |(point, on_postgres)| {
        let schema = Schema::new();
        let mut env = Vec::new();
        if on_postgres {
            schema.migrate().await;
            env = schema.env();
        }
        crash(&env, &pair, point).await;
        true
    });
    assert_eq!(count.await, 2 * 2 * STEPS.len());
}
