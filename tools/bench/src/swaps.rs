//! What configuration changes cost the traffic meanwhile.
//!
//! A data plane with many routes is loaded at a fixed rate, well below what it can do; every other
//! run changes one route some times a second, through the control plane. Latency counts from the
//! instant at which a request was due, so a pause is seen by all requests that it held up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::gateway::{self, Gateway};
use crate::process::{Scratch, start_upstream};
use crate::report::Spread;
use crate::traffic::{Amount, Figures, Traffic, load};
use crate::yardstick::Addresses;

/// Compare latency under configuration changes with latency without
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of runs of each kind
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Duration of a run in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Number of routes
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    /// Changes a second
    #[arg(long, default_value_t = 20.0)]
    changes: f64,
    /// Requests per second
    #[arg(long, default_value_t = 5_000.0)]
    rate: f64,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
}

/// Runs both kinds in turn and prints the ratio.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.rounds > 0, "--rounds: expected at least 1");
    anyhow::ensure!(args.changes > 0.0, "--changes: expected more than 0");
    let scratch = Scratch::create()?;
    let (_upstream, upstream) = start_upstream(scratch.path())?;
    let gateway = Gateway::start(&gateway::binary(args.hybridctl.as_deref())?, scratch.path())?;
    gateway.create_service(upstream)?;
    gateway.create_other_routes(args.routes)?;
    let body = r#"{"paths":["/"],"strip_path":false}"#;
    gateway.admin().write("PUT", "/services/bench/routes/all", body)?;
    gateway.wait_until_served("/")?;

    println!(
        "{:<10} {:>9} {:>9} {:>9} {:>8} {:>7}",
        "run", "req/s", "p50 us", "p99 us", "changes", "failed"
    );
    let mut quiet = vec![loaded(args, &gateway)?];
    let mut busy = Vec::new();
    for _ in 0..args.rounds {
        busy.push(changed(args, &gateway)?);
        quiet.push(loaded(args, &gateway)?);
    }
    let ratios = busy.iter().zip(quiet.windows(2)).map(|(busy, around)| {
        busy.p99_us / around.iter().map(|run| run.p99_us).sum::<f64>() * around.len() as f64
    });
    let Spread { median, least, largest } = Spread::of(ratios);
    println!("p99 with changes/p99 without: {median:.2} ({least:.2}-{largest:.2})");
    let failed: u64 = busy.iter().chain(&quiet).map(|run| run.failed).sum();
    anyhow::ensure!(failed == 0, "{failed} requests failed");
    Ok(())
}

fn loaded(args: &Args, gateway: &Gateway) -> anyhow::Result<Figures> {
    let figures = offer(args, gateway)?;
    print("quiet", &figures, 0);
    Ok(figures)
}

/// Loads the data plane while routes change one after the other.
fn changed(args: &Args, gateway: &Gateway) -> anyhow::Result<Figures> {
    let done = AtomicBool::new(false);
    let (figures, changes) = thread::scope(|scope| {
        let changes = scope.spawn(|| change(args, gateway, &done));
        let figures = offer(args, gateway);
        done.store(true, Ordering::Relaxed);
        let changes = changes.join().ok().context("the thread of changes panicked")?;
        Ok::<_, anyhow::Error>((figures?, changes?))
    })?;
    print("changes", &figures, changes);
    Ok(figures)
}

/// Changes routes until told to stop, and returns how many.
fn change(args: &Args, gateway: &Gateway, done: &AtomicBool) -> anyhow::Result<u64> {
    let (mut admin, started, mut count) = (gateway.admin(), Instant::now(), 0_u64);
    while !done.load(Ordering::Relaxed) {
        let body = format!(r#"{{"paths":["/changing/{count}"],"strip_path":false}}"#);
        let path = format!("/services/bench/routes/changing-{}", count % 100);
        admin.write("PUT", &path, &body)?;
        count += 1;
        let due = started + Duration::from_secs_f64(count as f64 / args.changes);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(count)
}

fn offer(args: &Args, gateway: &Gateway) -> anyhow::Result<Figures> {
    let addresses = Addresses { plain: gateway.proxy, tls: gateway.tls };
    let amount = Amount { path: "/", connections: 64, rate: Some(args.rate) };
    load(Traffic::Http, addresses, amount, args.seconds)
}

fn print(kind: &str, run: &Figures, changes: u64) {
    println!(
        "{kind:<10} {:>9.0} {:>9.0} {:>9.0} {changes:>8} {:>7}",
        run.rps, run.p50_us, run.p99_us, run.failed
    );
}
