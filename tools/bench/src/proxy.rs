//! CPU per proxied request against nginx.
//!
//! Both proxies run on core 0 with one worker, load and upstream on core 1, all over loopback.
//! The runs alternate (nginx, candidate, nginx, ...), and a candidate's ratio is against the
//! mean of the two nginx runs around it, because a shared machine has fast and slow spells.
//! CPU is the scheduler's run time of the whole process, per answered request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cpu::Usage;
use crate::gateway::{self, Gateway};
use crate::nginx;
use crate::process::{Process, Scratch, own, start_upstream};
use crate::report::Spread;

/// How long each proxy is loaded before a measured run, in seconds.
const WARM_UP_S: f64 = 0.5;

/// Compare CPU per proxied request with nginx, in alternating runs
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of runs of the candidate
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Duration of a run in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Number of connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests per second at scheduled instants, instead of as many as possible
    #[arg(long)]
    rate: Option<f64>,
    /// Path to ask for; /1m is answered with 1 MiB
    #[arg(long, default_value = "/")]
    path: String,
    /// Number of further routes that the data plane holds
    #[arg(long, default_value_t = 0)]
    routes: usize,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
    /// URL of a running proxy to measure instead; bring it to core 0 yourself
    #[arg(long, requires = "candidate_pid")]
    candidate_url: Option<String>,
    /// Process id of that proxy
    #[arg(long, requires = "candidate_url")]
    candidate_pid: Option<u32>,
    /// Address of a running upstream (`bench upstream`) to use for both instead of an own one
    #[arg(long)]
    upstream: Option<SocketAddr>,
}

/// A proxy that can be loaded and whose CPU time can be read.
struct Target {
    name: &'static str,
    url: String,
    pid: u32,
}

/// The figures of one run.
struct Run {
    cpu_us: f64,
    /// CPU of the threads that carry traffic, where they can be told by their name.
    proxy_threads_us: f64,
    rps: f64,
    p50_us: f64,
    p99_us: f64,
    failed: u64,
}

/// One figure of a run.
type Figure = fn(&Run) -> f64;

/// Runs the comparison and prints it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.rounds > 0, "--rounds: expected at least 1");
    anyhow::ensure!(args.path.starts_with('/'), "--path: expected it to start with /");
    let scratch = Scratch::create()?;
    let (_upstream, upstream) = upstream(args, scratch.path())?;
    let (nginx_process, address) = nginx::start(upstream, scratch.path())?;
    let url = |address: SocketAddr| format!("http://{address}{}", args.path);
    let yardstick = Target { name: "nginx", url: url(address), pid: nginx_process.pid() };

    let (_gateway, candidate) = match (&args.candidate_url, args.candidate_pid) {
        (Some(url), Some(pid)) => (None, Target { name: "candidate", url: url.clone(), pid }),
        _ => {
            let gateway = start_gateway(args, upstream, scratch.path())?;
            let (url, pid) = (url(gateway.proxy), gateway.data_plane.pid());
            (Some(gateway), Target { name: "hybridctl", url, pid })
        }
    };

    println!(
        "{:<10} {:>10} {:>14} {:>9} {:>9} {:>9} {:>7}",
        "target", "cpu us/req", "proxy-* us/req", "req/s", "p50 us", "p99 us", "failed"
    );
    let mut yardsticks = vec![measure(args, &yardstick)?];
    let mut candidates = Vec::new();
    for _ in 0..args.rounds {
        candidates.push(measure(args, &candidate)?);
        yardsticks.push(measure(args, &yardstick)?);
    }
    summarise(candidate.name, &candidates, &yardsticks);
    Ok(())
}

fn upstream(args: &Args, folder: &Path) -> anyhow::Result<(Option<Process>, SocketAddr)> {
    if let Some(address) = args.upstream {
        return Ok((None, address));
    }
    let (process, address) = start_upstream(folder)?;
    Ok((Some(process), address))
}

fn start_gateway(args: &Args, upstream: SocketAddr, folder: &Path) -> anyhow::Result<Gateway> {
    let gateway = Gateway::start(&gateway::binary(args.hybridctl.as_deref())?, folder)?;
    gateway.create_service(upstream)?;
    let mut admin = gateway.admin();
    for number in 0..args.routes {
        gateway::create_route(&mut admin, &format!("/other/{number}"))?;
    }
    gateway::create_route(&mut admin, "/")?;
    gateway.wait_until_served(&args.path)?;
    Ok(gateway)
}

fn measure(args: &Args, target: &Target) -> anyhow::Result<Run> {
    load(args, target, WARM_UP_S)?;
    let before = Usage::read(target.pid)?;
    let figures = load(args, target, args.seconds)?;
    let after = Usage::read(target.pid)?;

    let figure = |name: &str| -> anyhow::Result<f64> {
        let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).with_context(|| format!("load printed no {name}"))
    };
    let requests = figure("requests")?;
    anyhow::ensure!(requests > 0.0, "{} answered nothing at {}", target.name, target.url);
    let per_request_us = |prefix: &str| after.since_ns(&before, prefix) as f64 / 1e3 / requests;
    let run = Run {
        cpu_us: per_request_us(""),
        proxy_threads_us: per_request_us("proxy-"),
        rps: figure("rps")?,
        p50_us: figure("p50_us")?,
        p99_us: figure("p99_us")?,
        failed: (figure("errors")? + figure("non_2xx")?) as u64,
    };
    println!(
        "{:<10} {:>10.2} {:>14.2} {:>9.0} {:>9.0} {:>9.0} {:>7}",
        target.name, run.cpu_us, run.proxy_threads_us, run.rps, run.p50_us, run.p99_us, run.failed
    );
    Ok(run)
}

/// Runs the load generator on its core and returns what it printed.
fn load(args: &Args, target: &Target, seconds: f64) -> anyhow::Result<String> {
    let mut command = own("load")?;
    command
        .arg(&target.url)
        .args([format!("--connections={}", args.connections), format!("--seconds={seconds}")]);
    if let Some(rate) = args.rate {
        command.arg(format!("--rate={rate}"));
    }
    let output = command.output().context("cannot start the load generator")?;
    anyhow::ensure!(
        output.status.success(),
        "the load on {} failed: {}",
        target.name,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("the load generator printed something unreadable")
}

/// Prints the medians, and the ratios of each candidate run to the yardstick runs around it.
fn summarise(name: &str, candidates: &[Run], yardsticks: &[Run]) {
    let ratio = |figure: Figure| {
        Spread::of(candidates.iter().zip(yardsticks.windows(2)).map(|(candidate, around)| {
            let mean = around.iter().map(figure).sum::<f64>() / around.len() as f64;
            figure(candidate) / mean
        }))
    };
    println!();
    for (label, runs) in [("nginx", yardsticks), (name, candidates)] {
        let median = |figure: Figure| Spread::of(runs.iter().map(figure)).median;
        println!(
            "{label}: median {:.2} us CPU/request, {:.0} req/s, p99 {:.0} us",
            median(|run| run.cpu_us),
            median(|run| run.rps),
            median(|run| run.p99_us)
        );
    }
    let figures: [(&str, Figure); 4] = [
        ("CPU/request", |run| run.cpu_us),
        ("req/s", |run| run.rps),
        ("p50", |run| run.p50_us),
        ("p99", |run| run.p99_us),
    ];
    for (label, figure) in figures {
        let Spread { median, least, largest } = ratio(figure);
        println!("{name}/nginx {label}: {median:.2} ({least:.2}-{largest:.2})");
    }
}
