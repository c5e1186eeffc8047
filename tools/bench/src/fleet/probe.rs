//! Somebody who uses the Admin API while something else is going on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::report::Percentiles;

/// The pause between two reads.
const READ_EVERY: Duration = Duration::from_millis(10);

/// How many reads go between two writes.
const READS_PER_WRITE: usize = 20;

/// Reads routes all the time, and changes one now and then, one request after the other.
pub(super) struct Probe {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Latencies>>,
}

/// How long requests took.
#[derive(Default)]
struct Latencies {
    reads_ns: Vec<u64>,
    writes_ns: Vec<u64>,
}

impl Probe {
    pub(super) fn start(admin: SocketAddr, routes: Vec<String>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let ends = ended.clone();
        let thread = thread::spawn(move || probe(admin, &routes, &ends));
        Self { ended, thread }
    }

    /// Ends it and returns what it saw, in words.
    pub(super) fn end(self) -> anyhow::Result<String> {
        self.ended.store(true, Ordering::Relaxed);
        let joined = self.thread.join().map_err(|_| anyhow::anyhow!("the probe panicked"))?;
        let Latencies { reads_ns, writes_ns } = joined?;
        Ok(format!("Admin API: {}, {}", words("reads", reads_ns), words("writes", writes_ns)))
    }
}

fn probe(admin: SocketAddr, routes: &[String], ended: &AtomicBool) -> anyhow::Result<Latencies> {
    let mut client = Client::new(admin);
    let mut latencies = Latencies::default();
    let mut number = 0;
    while !ended.load(Ordering::Relaxed) {
        let route = &routes[number * 7919 % routes.len()];
        let asked = Instant::now();
        if number % (READS_PER_WRITE + 1) == READS_PER_WRITE {
            let body = format!(r#"{{"paths":["/probed/{number}"]}}"#);
            client.write("PATCH", &format!("/routes/{route}"), &body)?;
            latencies.writes_ns.push(asked.elapsed().as_nanos() as u64);
        } else {
            client.send("GET", &format!("/routes/{route}"), None)?;
            latencies.reads_ns.push(asked.elapsed().as_nanos() as u64);
        }
        number += 1;
        thread::sleep(READ_EVERY);
    }
    Ok(latencies)
}

fn words(of: &str, samples_ns: Vec<u64>) -> String {
    let count = samples_ns.len();
    let percentiles = Percentiles::of(samples_ns);
    let ms = |ns: u64| ns as f64 / 1e6;
    format!(
        "{count} {of} p50 {:.1} p99 {:.1} largest {:.1} ms",
        ms(percentiles.at(500)),
        ms(percentiles.at(990)),
        ms(percentiles.largest())
    )
}
