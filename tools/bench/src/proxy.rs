//! CPU per proxied request against nginx, and HAProxy if wanted, or against a data plane of one
//! route.
//!
//! All proxies run on core 0 with one worker, load and upstream on core 1, all over loopback.
//! The runs alternate (yardstick, candidate, yardstick, ...), and a candidate's ratio is against
//! the mean of the two yardstick runs around it, because a shared machine has fast and slow spells:
//! many short runs meet the same ones, and say more than a few long ones do.
//! CPU is the scheduler's run time of the whole process, per answered request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::cpu::Usage;
use crate::gateway::{self, Gateway};
use crate::process::{Process, Scratch, start_upstream};
use crate::report::Spread;
use crate::traffic::{Amount, Figures, Traffic, load};
use crate::yardstick::{self, Addresses, Certificate};

/// How long each proxy is loaded before a measured run, in seconds.
const WARM_UP_S: f64 = 0.5;

/// Compare CPU per proxied request with nginx, in alternating runs
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of runs of the candidate
    #[arg(long, default_value_t = 16)]
    rounds: usize,
    /// Duration of a run in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// What the connections carry
    #[arg(long, value_enum, default_value_t = Traffic::Http)]
    traffic: Traffic,
    /// Number of connections, of HTTP/1.1
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests per second at scheduled instants, instead of as many as possible; plain HTTP only
    #[arg(long)]
    rate: Option<f64>,
    /// Path to ask for; /1m is answered with 1 MiB
    #[arg(long, default_value = "/")]
    path: String,
    /// Number of further routes that the data plane holds
    #[arg(long, default_value_t = 0)]
    routes: usize,
    /// What a run is compared with
    #[arg(long, value_enum, default_value_t = Yardstick::Nginx)]
    against: Yardstick,
    /// Measure HAProxy in the same run, too
    #[arg(long)]
    haproxy: bool,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
    /// Plain address of a running proxy to measure instead; bring it to core 0 yourself
    #[arg(long, requires = "candidate_pid")]
    candidate: Option<SocketAddr>,
    /// Its TLS address
    #[arg(long, requires = "candidate")]
    candidate_tls: Option<SocketAddr>,
    /// Process id of that proxy
    #[arg(long, requires = "candidate")]
    candidate_pid: Option<u32>,
    /// Address of a running upstream (`bench upstream`) to use for all instead of an own one
    #[arg(long)]
    upstream: Option<SocketAddr>,
}

/// What the candidate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Yardstick {
    /// nginx, one worker
    Nginx,
    /// A data plane of our own with a single route
    OneRoute,
}

/// A proxy that can be loaded and whose CPU time can be read. It ends with its value.
struct Target {
    name: &'static str,
    addresses: Addresses,
    pid: u32,
    _processes: Running,
}

/// What runs for a target.
enum Running {
    Elsewhere,
    One { _process: Process },
    Planes { _gateway: Box<Gateway> },
}

/// The figures of one run.
struct Run {
    cpu_us: f64,
    /// CPU of the threads that carry traffic, where they can be told by their name.
    proxy_threads_us: f64,
    load: Figures,
}

/// One figure of a run.
type Figure = fn(&Run) -> f64;

/// Runs the comparison and prints it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.rounds > 0, "--rounds: expected at least 1");
    anyhow::ensure!(args.path.starts_with('/'), "--path: expected it to start with /");
    let is_plain = args.traffic == Traffic::Http;
    anyhow::ensure!(is_plain || args.rate.is_none(), "--rate: only with --traffic http");
    let scratch = Scratch::create()?;
    let certificate = Certificate::make(scratch.path())?;
    let (_process, upstream) = upstream(args, scratch.path())?;
    let set_up = Setup { args, upstream, certificate: &certificate, folder: scratch.path() };
    let yardstick = match args.against {
        Yardstick::Nginx => {
            let (process, addresses) = yardstick::nginx(upstream, &certificate, scratch.path())?;
            Target::of("nginx", process, addresses)
        }
        Yardstick::OneRoute => set_up.gateway("one-route", 0)?,
    };
    let mut candidates = vec![set_up.candidate()?];
    if args.haproxy {
        let (process, addresses) = yardstick::haproxy(upstream, &certificate, scratch.path())?;
        candidates.push(Target::of("haproxy", process, addresses));
    }

    println!(
        "{:<10} {:>10} {:>14} {:>9} {:>9} {:>9} {:>7}",
        "target", "cpu us/req", "proxy-* us/req", "req/s", "p50 us", "p99 us", "failed"
    );
    let mut yardsticks = vec![measure(args, &yardstick)?];
    let mut runs: Vec<Vec<Run>> = candidates.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.rounds {
        for (candidate, runs) in candidates.iter().zip(&mut runs) {
            runs.push(measure(args, candidate)?);
        }
        yardsticks.push(measure(args, &yardstick)?);
    }
    println!();
    medians(yardstick.name, &yardsticks);
    for (candidate, runs) in candidates.iter().zip(&runs) {
        medians(candidate.name, runs);
    }
    for (candidate, runs) in candidates.iter().zip(&runs) {
        ratios(candidate.name, runs, yardstick.name, &yardsticks);
    }
    Ok(())
}

fn upstream(args: &Args, folder: &Path) -> anyhow::Result<(Option<Process>, SocketAddr)> {
    if let Some(address) = args.upstream {
        return Ok((None, address));
    }
    let (process, address) = start_upstream(folder)?;
    Ok((Some(process), address))
}

impl Target {
    fn of(name: &'static str, process: Process, addresses: Addresses) -> Self {
        let pid = process.pid();
        Self { name, addresses, pid, _processes: Running::One { _process: process } }
    }
}

/// What the data planes are made from.
struct Setup<'a> {
    args: &'a Args,
    upstream: SocketAddr,
    certificate: &'a Certificate,
    folder: &'a Path,
}

impl Setup<'_> {
    fn candidate(&self) -> anyhow::Result<Target> {
        let Args { candidate, candidate_tls, candidate_pid, routes, .. } = self.args;
        let (Some(plain), Some(pid)) = (candidate, candidate_pid) else {
            return self.gateway("hybridctl", *routes);
        };
        let addresses = Addresses { plain: *plain, tls: candidate_tls.unwrap_or(*plain) };
        Ok(Target { name: "candidate", addresses, pid: *pid, _processes: Running::Elsewhere })
    }

    fn gateway(&self, name: &'static str, routes: usize) -> anyhow::Result<Target> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let binary = gateway::binary(self.args.hybridctl.as_deref())?;
        let gateway = Gateway::start_with(&binary, &folder, Some(self.certificate))?;
        gateway.create_service(self.upstream)?;
        gateway.create_other_routes(routes)?;
        gateway::create_route(&mut gateway.admin(), "/")?;
        gateway.wait_until_served(&self.args.path)?;
        let addresses = Addresses { plain: gateway.proxy, tls: gateway.tls };
        let pid = gateway.data_plane.pid();
        let running = Running::Planes { _gateway: Box::new(gateway) };
        Ok(Target { name, addresses, pid, _processes: running })
    }
}

fn measure(args: &Args, target: &Target) -> anyhow::Result<Run> {
    let amount = Amount { path: &args.path, connections: args.connections, rate: args.rate };
    load(args.traffic, target.addresses, amount, WARM_UP_S)?;
    let before = Usage::read(target.pid)?;
    let load = load(args.traffic, target.addresses, amount, args.seconds)?;
    let after = Usage::read(target.pid)?;
    anyhow::ensure!(load.requests > 0.0, "{} answered nothing", target.name);
    let per_request_us =
        |prefix: &str| after.since_ns(&before, prefix) as f64 / 1e3 / load.requests;
    let run = Run { cpu_us: per_request_us(""), proxy_threads_us: per_request_us("proxy-"), load };
    println!(
        "{:<10} {:>10.2} {:>14.2} {:>9.0} {:>9.0} {:>9.0} {:>7}",
        target.name,
        run.cpu_us,
        run.proxy_threads_us,
        load.rps,
        load.p50_us,
        load.p99_us,
        load.failed
    );
    Ok(run)
}

fn medians(name: &str, runs: &[Run]) {
    let median = |figure: Figure| Spread::of(runs.iter().map(figure)).median;
    println!(
        "{name}: median {:.2} us CPU/request, {:.0} req/s, p99 {:.0} us",
        median(|run| run.cpu_us),
        median(|run| run.load.rps),
        median(|run| run.load.p99_us)
    );
}

/// Prints the ratios of each candidate run to the yardstick runs around it.
fn ratios(name: &str, candidates: &[Run], yardstick: &str, yardsticks: &[Run]) {
    let ratio = |figure: Figure| {
        Spread::of(candidates.iter().zip(yardsticks.windows(2)).map(|(candidate, around)| {
            let mean = around.iter().map(figure).sum::<f64>() / around.len() as f64;
            figure(candidate) / mean
        }))
    };
    let figures: [(&str, Figure); 4] = [
        ("CPU/request", |run| run.cpu_us),
        ("req/s", |run| run.load.rps),
        ("p50", |run| run.load.p50_us),
        ("p99", |run| run.load.p99_us),
    ];
    for (label, figure) in figures {
        let Spread { median, least, largest } = ratio(figure);
        // Not every load tells its percentiles.
        if median.is_finite() {
            println!("{name}/{yardstick} {label}: {median:.2} ({least:.2}-{largest:.2})");
        }
    }
}
