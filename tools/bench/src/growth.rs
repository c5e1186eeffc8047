//! How the cost of a change, of a start and of memory grow with the configuration and the log.
//!
//! In this process and on one thread, without the Admin API: what is measured is the domain, the hash
//! tree and the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hybridctl::clock::Clock;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::config::Config;
use hybridctl::domain::decide::{self, Fresh, Target};
use hybridctl::domain::kinds::route;
use hybridctl::log::LogDatabase as _;
use hybridctl::log::sqlite::SqliteLog;
use hybridctl::plugins;
use hybridctl::snapshot::Snapshot;
use hybridctl::writer::Writer;
use hybridctl::writer::audit;
use hybridctl::writer::history::History;
use hybridctl::writer::projector::Projector;
use serde_json::json;

use crate::configuration::{self, document, origin};
use crate::process::Scratch;
use crate::report::Percentiles;

/// Changes that the cost of one is taken from.
const CHANGES: usize = 2_000;

/// Writers that fill the log at the same time.
const WRITERS: usize = 256;

/// Measure how the cost of a change and of a start grow with configuration and log
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of entities; may be given more than once
    #[arg(long = "entities", default_values_t = [1_000, 10_000, 100_000])]
    entities: Vec<usize>,
    /// Number of events in the log that a start is measured on, with the last number of entities;
    /// 0 leaves the start out
    #[arg(long, default_value_t = 100_000)]
    events: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let catalog = Arc::new(plugins::catalog(|_| true));
    let mut last = Config::default();
    for size in &args.entities {
        last = changes(&catalog, *size)?;
    }
    if args.events > 0 {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(start(&catalog, last, args.events))?;
    }
    Ok(())
}

/// Builds a configuration of `size` entities, and measures what one change of it costs.
fn changes(catalog: &Catalog, size: usize) -> anyhow::Result<Config> {
    let before = resident_kib()?;
    let started = Instant::now();
    let (config, routes) = configuration::build(catalog, size)?;
    let built = started.elapsed();
    let started = Instant::now();
    let mut snapshot = Snapshot::of(config);
    let hashed = started.elapsed();
    let memory = resident_kib()?.saturating_sub(before);

    let (mut decided_ns, mut applied_ns) = (Vec::new(), Vec::new());
    let clock = Clock::System;
    for number in 0..CHANGES {
        let id = routes.get(number * 7919 % routes.len()).context("there is a route")?;
        let target = Target::Id(id.parse().context("an id")?);
        let patch = document(json!({"paths": [format!("/changed/{number}")]}))?;
        let started = Instant::now();
        let mut fresh = Fresh { at: clock.now(), id: &mut || clock.id() };
        let config = snapshot.config();
        let decision = decide::patch(catalog, config, route::KIND, &target, patch, &mut fresh);
        let decision = decision.map_err(|rejection| anyhow::anyhow!(rejection.message()))?;
        decided_ns.push(started.elapsed().as_nanos() as u64);
        let started = Instant::now();
        snapshot = snapshot.apply(catalog, &decision.changes);
        applied_ns.push(started.elapsed().as_nanos() as u64);
    }
    println!(
        "{size} entities: {:.1} us to create one, {:.0} ms to hash all, {:.2} KiB each in memory",
        built.as_secs_f64() * 1e6 / size as f64,
        hashed.as_secs_f64() * 1e3,
        memory as f64 / size as f64,
    );
    print("  to decide a change", decided_ns);
    print("  to apply it, root hash included", applied_ns);
    Ok(snapshot.config().clone())
}

fn print(label: &str, samples_ns: Vec<u64>) {
    let percentiles = Percentiles::of(samples_ns);
    let us = |per_mille| percentiles.at(per_mille) as f64 / 1e3;
    println!("{label}: p50 {:.1} us, p99 {:.1} us", us(500), us(990));
}

/// Fills a log and measures a start on it (from the stored snapshot, and the tail after it), and how
/// long it takes to verify it from its first event.
async fn start(catalog: &Arc<Catalog>, config: Config, events: usize) -> anyhow::Result<()> {
    let scratch = Scratch::create()?;
    let file = scratch.path().join("hybrid.db");
    let entities = config.len();
    let log = Arc::new(SqliteLog::open(&file).await?);
    let (writer, task) = Writer::open(log.clone(), catalog.clone(), Clock::System).await?;
    let task = tokio::spawn(task.run(std::future::pending()));
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let projector = Projector::new(log.clone(), writer.subscribe());
    let projector = tokio::spawn(projector.run(async { drop(ended.await) }));
    writer.import(origin(), config).await.context("cannot import")?;

    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WRITERS {
        let (writer, catalog) = (writer.clone(), catalog.clone());
        workers.spawn(async move {
            for number in (worker..events).step_by(WRITERS) {
                let target = Target::Name("name", format!("r{}", number % entities / 11 * 11 + 1));
                let path = format!("/event/{number}");
                let catalog = catalog.clone();
                let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
                    let patch = [("paths".to_owned(), json!([path]))].into_iter().collect();
                    let decision =
                        decide::patch(&catalog, config, route::KIND, &target, patch, fresh)?;
                    Ok((decision.changes, ()))
                };
                writer.write(origin(), decide).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let filled = started.elapsed();
    drop(end);
    projector.await?;
    let hash = writer.head().config_hash;
    task.abort();
    log.close().await;

    let started = Instant::now();
    let log = Arc::new(SqliteLog::open(&file).await?);
    let (writer, _task) = Writer::open(log.clone(), catalog.clone(), Clock::System).await?;
    let opened = started.elapsed();
    anyhow::ensure!(writer.head().config_hash == hash, "the start leads to another config");
    println!(
        "{events} events over {entities} entities: written at {:.0}/s by {WRITERS} writers; \
         a start takes {:.2} s; {} MiB on disk",
        events as f64 / filled.as_secs_f64(),
        Duration::as_secs_f64(&opened),
        std::fs::metadata(&file)?.len() >> 20,
    );

    let started = Instant::now();
    let verified = audit::verify(&History::new(log, catalog.clone())).await?;
    let took = started.elapsed();
    anyhow::ensure!(verified.config_hash == hash, "the audit leads to another config");
    println!(
        "  to verify all of it: {:.1} s, {:.0} us an event",
        took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / events as f64,
    );
    Ok(())
}

/// Returns how much memory this process has, in KiB.
fn resident_kib() -> anyhow::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("VmRSS is missing")?;
    Ok(kib.parse()?)
}
