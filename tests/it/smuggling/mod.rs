//! Requests that two readers could read differently, and every other way to send two requests
//! where one was meant: `tests/fixtures/smuggling/` lists them, with what each is answered.
//!
//! Each is sent raw, to a route that reads bodies ahead and to one that passes them on, and a
//! further request follows where the connection goes on. An upstream that knows nothing of our code
//! holds what reached it against the rules, byte by byte; nginx and HAProxy say how real servers
//! read the same.

mod client;
mod compared;
mod corpus;
mod recorder;
mod servers;

use std::net::SocketAddr;

use serde_json::json;

use self::client::{Heard, talk};
use self::corpus::Entry;
use self::recorder::Recorder;
use self::servers::{Logged, Server};
use crate::harness::Cluster;

/// How many entries there are at least.
const ENTRIES_MIN: usize = 300;

#[test]
fn the_corpus_is_large_and_names_no_request_twice() {
    let entries = corpus::all();
    assert!(entries.len() >= ENTRIES_MIN, "{} entries", entries.len());
    let mut seen = std::collections::BTreeMap::new();
    for entry in &entries {
        let before = seen.insert(&entry.bytes, &entry.name);
        assert_eq!(before, None, "{} is the same request", entry.name);
    }
}

/// Makes a route for everything to an upstream.
async fn route(cluster: &Cluster, upstream: SocketAddr, request_buffering: bool) {
    cluster.put("/services/all", json!({"url": format!("http://{upstream}")})).await;
    let route = json!({
        "paths": ["/"], "service": {"name": "all"}, "request_buffering": request_buffering,
    });
    cluster.put("/routes/all", route).await;
    cluster.converge().await;
}

/// Says what is wrong about an entry; nothing, if all is as it should be.
fn judge(entry: &Entry, heard: &Heard, reached: &[(String, Vec<u8>)]) -> Result<(), String> {
    heard.matches(entry)?;
    let passed: Vec<_> = heard.passed().collect();
    let targets: Vec<&str> = reached.iter().map(|(line, _)| line.as_str()).collect();
    if passed != targets {
        return Err(format!("answers are for {passed:?}, but {targets:?} reached the upstream"));
    }
    if let Some(line) = targets.iter().find(|line| line.contains("smuggled")) {
        return Err(format!("{line} was smuggled"));
    }
    for (wanted, (_, body)) in entry.bodies().zip(reached) {
        if wanted.is_some_and(|wanted| wanted.as_bytes() != body) {
            return Err(format!("the upstream got another body: {}", body.escape_ascii()));
        }
    }
    Ok(())
}

fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings\n{}", findings.len(), findings.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_an_upstream_that_was_not_clearly_sent() {
    let cluster = Cluster::start().await;
    let recorder = Recorder::start().await;
    let mut findings = Vec::new();
    for request_buffering in [true, false] {
        route(&cluster, recorder.address, request_buffering).await;
        for entry in corpus::all() {
            let heard = talk(cluster.proxy(), &entry).await;
            let (reached, wrongs) = recorder.take();
            let verdict = judge(&entry, &heard, &reached);
            let wrongs = wrongs.into_iter().map(Err);
            for wrong in wrongs.chain([verdict]).filter_map(Result::err) {
                findings.push(format!("{} (read ahead: {request_buffering}): {wrong}", entry.name));
            }
        }
    }
    none(&findings);
}

/// Returns how many lines a log has beside those of the answered requests; the error is that it lacks
/// one, or has one of a request that nobody sent.
fn others(passed: &[&str], logged: &[Logged]) -> Result<usize, String> {
    let mut passed = passed.iter().peekable();
    let mut others = 0;
    for line in logged {
        if passed.next_if(|wanted| **wanted == line.request).is_some() {
            continue;
        }
        let was_begun = ["POST /ok", "<BADREQ> <BADREQ>"].contains(&line.request.as_str());
        if !was_begun {
            return Err(format!("logged {} ({})", line.request, line.status));
        }
        others += 1;
    }
    passed.next().map_or(Ok(others), |wanted| Err(format!("{wanted} was not logged")))
}

/// What a real server logs as its requests is what was answered, in that order. Beside those there may
/// be one whose body broke off on its way, which is logged late, now and then.
async fn with_server(start: fn() -> Result<Server, String>) {
    let server = match start() {
        Ok(server) => server,
        Err(missing) => return eprintln!("not tried: {missing}"),
    };
    let cluster = Cluster::start().await;
    let mut findings = Vec::new();
    let mut begun = 0;
    for request_buffering in [true, false] {
        route(&cluster, server.address, request_buffering).await;
        for entry in corpus::all() {
            let heard = talk(cluster.proxy(), &entry).await;
            let end = format!("/end-of-{}", entry.name);
            let marked = crate::http::get(cluster.proxy(), &end).await.unwrap();
            assert_eq!(marked.status, 200);
            let logged = server.logged_until(&end).await;
            let passed: Vec<_> = heard.passed().collect();
            begun += usize::from(entry.ends());
            let verdict = heard.matches(&entry).and_then(|()| others(&passed, &logged));
            match verdict.map(|others| begun.checked_sub(others)) {
                // What was begun is logged by the end of the next entry.
                Ok(Some(left)) => begun = left.min(1),
                Ok(None) => findings.push(format!("{}: too much is logged", entry.name)),
                Err(wrong) => findings.push(format!("{}: {wrong}: {logged:?}", entry.name)),
            }
        }
    }
    none(&findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_reads_what_was_clearly_sent() {
    with_server(servers::nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_reads_what_was_clearly_sent() {
    with_server(servers::haproxy).await;
}
