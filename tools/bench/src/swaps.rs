//! What configuration changes cost the traffic meanwhile.
//!
//! A data plane with many routes is asked at a fixed rate, far below what it can do, over connections
//! that stay: one load from begin to end, in this process. Stretches in which nothing changes take
//! turns with stretches in which one route changes some times a second, through the control plane, and
//! each answer counts for the stretch in which its request was due. Latency counts from that instant,
//! so a pause is seen by all requests that it held up.
//!
//! A p99 of one stretch is a handful of requests, and a machine has slow spells: so there are many short
//! stretches, each is compared with the quiet ones on both sides of it, and what counts is the median
//! of these ratios and the ratio over all requests together. The control plane shares a core with the
//! load and yields to it, or what it takes would be measured as the data plane's.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::gateway::{self, Gateway};
use crate::load::{self, Outcome, Sample};
use crate::process::{OTHER_CORE, Scratch, start_upstream};
use crate::report::{Percentiles, Spread};

/// What is left out at the begin of each stretch: the last change of the one before may still be at work.
const SETTLE: Duration = Duration::from_millis(200);

/// Before the first stretch: connections are opened and memory is warm then.
const WARM_UP: Duration = Duration::from_secs(2);

/// Compare latency under configuration changes with latency without
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of stretches with changes; there is one more without
    #[arg(long, default_value_t = 32)]
    rounds: usize,
    /// Duration of a stretch in seconds
    #[arg(long, default_value_t = 1.2)]
    seconds: f64,
    /// Number of routes
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    /// Changes a second
    #[arg(long, default_value_t = 20.0)]
    changes: f64,
    /// Requests per second
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
}

/// A stretch of the load.
struct Stretch {
    from: Instant,
    to: Instant,
    /// How many changes were made in it.
    changes: u64,
}

/// Runs the load through all stretches and prints the ratios.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.rounds > 0, "--rounds: expected at least 1");
    anyhow::ensure!(args.changes > 0.0, "--changes: expected more than 0");
    let length = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    anyhow::ensure!(length > 2 * SETTLE, "--seconds: expected more than {:?}", 2 * SETTLE);
    let scratch = Scratch::create()?;
    let (_upstream, upstream) = start_upstream(scratch.path())?;
    let gateway = Gateway::start(&gateway::binary(args.hybridctl.as_deref())?, scratch.path())?;
    gateway.create_service(upstream)?;
    gateway.create_other_routes(args.routes)?;
    let body = r#"{"paths":["/"],"strip_path":false}"#;
    gateway.admin().write("PUT", "/services/bench/routes/all", body)?;
    gateway.wait_until_served("/")?;
    yield_to_all(gateway.control_plane.pid())?;
    // Threads that begin later inherit it.
    run_tool("taskset", &["-c", "-p", OTHER_CORE, &std::process::id().to_string()])?;

    let (outcome, stretches) = loaded(args, &gateway, length)?;
    report(&outcome.samples, &stretches);
    let failed = outcome.errors + outcome.non_2xx;
    println!("{} requests, {failed} failed", outcome.requests + outcome.errors);
    anyhow::ensure!(failed == 0, "{failed} requests failed");
    Ok(())
}

/// Loads the data plane while routes change in every other stretch.
fn loaded(
    args: &Args,
    gateway: &Gateway,
    length: Duration,
) -> anyhow::Result<(Outcome, Vec<Stretch>)> {
    let count = 2 * args.rounds + 1;
    let load = load::Args {
        url: format!("http://{}/", gateway.proxy),
        connections: 32,
        seconds: (WARM_UP + length * u32::try_from(count)?).as_secs_f64(),
        rate: Some(args.rate),
        headers: Vec::new(),
    };
    let broken = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let outcome = load::run_to_the_end(&load);
            broken.store(outcome.is_err(), Ordering::Relaxed);
            outcome
        });
        let mut from = Instant::now() + WARM_UP;
        let mut stretches = Vec::with_capacity(count);
        let mut changer = Changer { admin: gateway.admin(), count: 0, per_second: args.changes };
        for number in 0..count {
            thread::sleep(from.saturating_duration_since(Instant::now()));
            let to = from + length;
            let changes = if number % 2 == 1 { changer.change_until(to)? } else { 0 };
            if broken.load(Ordering::Relaxed) {
                break;
            }
            stretches.push(Stretch { from, to, changes });
            from = to;
        }
        let outcome = load.join().ok().context("the thread of the load panicked")??;
        Ok((outcome, stretches))
    })
}

/// Who changes routes, one after the other.
struct Changer {
    admin: crate::client::Client,
    count: u64,
    per_second: f64,
}

impl Changer {
    /// Changes routes until then, and returns how many.
    fn change_until(&mut self, end: Instant) -> anyhow::Result<u64> {
        let (started, before) = (Instant::now(), self.count);
        while Instant::now() < end {
            let body = format!(r#"{{"paths":["/changing/{}"],"strip_path":false}}"#, self.count);
            let path = format!("/services/bench/routes/changing-{}", self.count % 100);
            self.admin.write("PUT", &path, &body)?;
            self.count += 1;
            let made = (self.count - before) as f64;
            let due = started + Duration::from_secs_f64(made / self.per_second);
            thread::sleep(due.min(end).saturating_duration_since(Instant::now()));
        }
        Ok(self.count - before)
    }
}

fn report(samples: &[Sample], stretches: &[Stretch]) {
    let of = |stretch: &Stretch| -> Vec<u64> {
        let counted = stretch.from + SETTLE..stretch.to;
        let inside = samples.iter().filter(|sample| counted.contains(&sample.since));
        inside.map(|sample| sample.latency_ns).collect()
    };
    println!("{:<8} {:>8} {:>9} {:>9} {:>8}", "stretch", "requests", "p50 us", "p99 us", "changes");
    let mut p99s = Vec::with_capacity(stretches.len());
    let mut pooled = [Vec::new(), Vec::new()];
    for (number, stretch) in stretches.iter().enumerate() {
        let latencies = of(stretch);
        pooled[number % 2].extend_from_slice(&latencies);
        let kind = if number % 2 == 1 { "changes" } else { "quiet" };
        p99s.push(print(kind, latencies, stretch.changes));
    }
    let ratios = p99s.windows(3).step_by(2).map(|run| 2.0 * run[1] / (run[0] + run[2]));
    let Spread { median, least, largest } = Spread::of(ratios);
    let [quiet, busy] = pooled;
    let changes = stretches.iter().map(|stretch| stretch.changes).sum();
    let (quiet, busy) = (print("quiet", quiet, 0), print("changes", busy, changes));
    println!("p99 with changes/p99 without: {median:.2}, median of ({least:.2}-{largest:.2})");
    println!("the same over all requests together: {:.2}", busy / quiet);
}

/// Prints a line and returns its p99 in microseconds.
fn print(kind: &str, latencies: Vec<u64>, changes: u64) -> f64 {
    let count = latencies.len();
    let percentiles = Percentiles::of(latencies);
    let [p50, p99] = [500, 990].map(|per_mille| percentiles.at(per_mille) as f64 / 1e3);
    println!("{kind:<8} {count:>8} {p50:>9.0} {p99:>9.0} {changes:>8}");
    p99
}

/// Lets every thread of a process run only when nobody else wants to. The lowest priority is not enough:
/// since Linux 6.6 a thread that has begun with its slice may go on with it, whoever wakes up.
fn yield_to_all(pid: u32) -> anyhow::Result<()> {
    run_tool("chrt", &["--all-tasks", "--idle", "--pid", "0", &pid.to_string()])
}

fn run_tool(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program}: {said}");
    Ok(())
}
