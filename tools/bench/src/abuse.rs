//! What clients that mean no good cost the others: `slowhttptest` in each of its ways, and floods by
//! `h2load`, with the memory at the highest and a client that behaves.
//!
//! Both tools are Debian's. The slow connections of all ways stay open together, so that the time after
//! which the proxy closes them is waited for once; the memory of a way is what it added. Sixty seconds is
//! what nginx has for a head, between two pieces of a body, and between two writes of an answer. Who sends
//! a byte of a body each second is let to: with nginx, too.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::gateway::{self, Gateway};
use crate::idle::raise_limit;
use crate::process::{OTHER_CORE, Process, Scratch, pinned, start_upstream};
use crate::traffic::{Amount, Figures, Traffic, load};
use crate::yardstick::Addresses;

/// Measure slow clients (slowhttptest) and HTTP/2 floods (h2load): memory, the others, when they end
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of slow connections of each way
    #[arg(long, default_value_t = 500)]
    connections: usize,
    /// Seconds for which a client that behaves is watched beside each way and flood
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
}

/// A way of being slow.
struct Way {
    name: &'static str,
    /// What asks slowhttptest for it.
    arguments: &'static [&'static str],
    path: &'static str,
    /// Whether the proxy is to close its connections.
    is_closed: bool,
}

/// In this order, so that those which are waited for begin first.
const WAYS: &[Way] = &[
    Way { name: "heads that never end", arguments: &["-H", "-i", "1"], path: "", is_closed: true },
    Way {
        name: "bodies that stop",
        arguments: &["-B", "-i", "200", "-s", "8000"],
        path: "",
        is_closed: true,
    },
    Way {
        name: "clients that do not read",
        arguments: &["-X", "-w", "1", "-y", "2", "-z", "1", "-n", "200", "-k", "3"],
        path: "1m/",
        is_closed: true,
    },
    Way {
        name: "bodies that trickle",
        arguments: &["-B", "-i", "1", "-s", "8000"],
        path: "",
        is_closed: false,
    },
    Way { name: "ranges without end", arguments: &["-R"], path: "1m/", is_closed: true },
];

/// The floods, with what asks h2load for them and the path.
const FLOODS: &[(&str, &[&str], &str)] = &[
    ("HTTP/2, 4 x 1,000 streams", &["-c4", "-m1000"], "/"),
    ("HTTP/2, 200 connections", &["-c200", "-m2"], "/"),
    ("HTTP/2, large answers", &["-c2", "-m100", "-w24", "-W30"], "/1m/"),
];

/// After so long what is slow must be gone: the limit of the proxy, and what it takes to notice.
const CLOSED_WITHIN: Duration = Duration::from_secs(66);

/// For the connections of a way to come.
const OPEN_WITHIN: Duration = Duration::from_secs(3);

/// How long slowhttptest goes on unless it is ended, in seconds.
const TEST_SECONDS: &str = "240";

/// What is measured.
struct Target {
    gateway: Gateway,
    seconds: f64,
    scratch: Scratch,
}

/// A way under way.
struct Attack {
    way: &'static Way,
    client: Process,
    begun: Instant,
    /// The clients' ends of its connections.
    opened: HashSet<SocketAddr>,
}

/// Measures each way and each flood, and fails when the others suffer.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.connections > 0 && args.seconds > 0, "too few connections or seconds");
    raise_limit(8 * args.connections as u64 + 2048)?;
    let scratch = Scratch::create()?;
    let (_upstream, upstream) = start_upstream(scratch.path())?;
    let gateway = Gateway::start(&gateway::binary(args.hybridctl.as_deref())?, scratch.path())?;
    gateway.create_service(upstream)?;
    gateway::create_route(&mut gateway.admin(), "/")?;
    gateway.wait_until_served("/")?;
    let target = Target { gateway, seconds: f64::from(args.seconds), scratch };
    let mut lost = 0;
    println!(
        "{:<30} {:>7} {:>9} {:>9} {:>10} {:>9} {:>9} {:>7}",
        "abuse", "open", "peak MiB", "added", "KiB each", "p50 us", "p99 us", "failed"
    );
    lost += target.watched("none", 0, || Ok(0))?;
    let mut attacks = Vec::new();
    for way in WAYS {
        let mut attack = None;
        lost += target.watched(way.name, args.connections, || {
            let started = target.attack(way, args.connections)?;
            Ok(attack.insert(started).opened.len())
        })?;
        attacks.extend(attack);
    }
    for (name, arguments, path) in FLOODS {
        let mut flood = None;
        lost += target.watched(name, 0, || {
            flood = Some(target.flood(arguments, path)?);
            Ok(0)
        })?;
        if let Some(flood) = flood {
            lost += end_of_flood(flood)?;
        }
    }
    let open = target.await_ends(attacks)?;
    anyhow::ensure!(lost == 0, "{lost} requests of clients that behave failed");
    anyhow::ensure!(open == 0, "{open} connections were not closed in time");
    Ok(())
}

impl Target {
    /// Begins something, watches a client that behaves beside it, and prints a line. Returns how many
    /// of its requests failed.
    fn watched(
        &self,
        name: &str,
        wanted: usize,
        begin: impl FnOnce() -> anyhow::Result<usize>,
    ) -> anyhow::Result<u64> {
        let pid = self.gateway.data_plane.pid();
        let before = memory_kib(pid, "VmRSS:")?;
        // From here on the highest counts (proc(5), clear_refs).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the peak")?;
        let opened = begin()?;
        let addresses = Addresses { plain: self.gateway.proxy, tls: self.gateway.tls };
        let amount = Amount { path: "/", connections: 4, rate: Some(200.0) };
        let figures = load(Traffic::Http, addresses, amount, self.seconds)?;
        let peak = memory_kib(pid, "VmHWM:")?;
        print(name, opened, (before, peak), &figures);
        if opened < wanted {
            println!("{:<30} {wanted} were asked for: those over were answered", "");
        }
        Ok(figures.failed)
    }

    fn attack(&self, way: &'static Way, connections: usize) -> anyhow::Result<Attack> {
        let mut command = yielding("slowhttptest");
        let count = connections.to_string();
        command.args(way.arguments).args(["-c", &count, "-r", &count, "-l", TEST_SECONDS]);
        command.args(["-u", &format!("http://{}/{}", self.gateway.proxy, way.path)]);
        command.args(["-p", "10"]).current_dir(self.scratch.path());
        let begun = Instant::now();
        let client = Process::start(command, "slowhttptest", self.scratch.path())?;
        let mut opened = HashSet::new();
        while opened.len() < connections && begun.elapsed() < OPEN_WITHIN {
            thread::sleep(Duration::from_millis(50));
            opened.extend(ends(&format!("dport = :{}", self.gateway.proxy.port()), client.pid())?);
        }
        Ok(Attack { way, client, begun, opened })
    }

    /// Waits until what is to be closed is closed by the proxy; returns how many connections are not.
    /// Its own ends are looked at: a client that does not read does not hear of it.
    fn await_ends(&self, attacks: Vec<Attack>) -> anyhow::Result<usize> {
        let (filter, pid) =
            (format!("sport = :{}", self.gateway.proxy.port()), self.gateway.data_plane.pid());
        let still = |opened: &HashSet<SocketAddr>| {
            ends(&filter, pid).map(|open| open.intersection(opened).count())
        };
        println!();
        let (waited_for, others): (Vec<_>, Vec<_>) =
            attacks.into_iter().partition(|attack| attack.way.is_closed);
        for Attack { way, client, opened, .. } in others {
            let open = still(&opened)?;
            println!("{:<30} {open} of {} go on, as they may", way.name, opened.len());
            client.kill()?;
        }
        let mut left = 0;
        // In the order in which they began, and so in which they end.
        for Attack { way, client, begun, opened } in waited_for {
            let (name, count) = (way.name, opened.len());
            let mut open = still(&opened)?;
            while open > 0 && begun.elapsed() < CLOSED_WITHIN {
                thread::sleep(Duration::from_millis(250));
                open = still(&opened)?;
            }
            let seconds = begun.elapsed().as_secs();
            match open {
                0 => println!("{name:<30} all {count} closed after {seconds} s at most"),
                _ => println!("{name:<30} {open} of {count} still open after {seconds} s"),
            }
            left += open;
            client.kill()?;
        }
        Ok(left)
    }

    fn flood(&self, arguments: &[&str], path: &str) -> anyhow::Result<Process> {
        let mut command = yielding("h2load");
        command.args(arguments).args(["-t1", "-D", &self.seconds.to_string()]);
        command.arg(format!("https://{}{path}", self.gateway.tls));
        Process::start(command, "h2load", self.scratch.path())
    }
}

/// Returns a command that runs a tool where everything else runs, with what that leaves: slowhttptest
/// never sleeps, and is not to take the core from the upstream and from the client that behaves.
fn yielding(program: &str) -> Command {
    let mut command = pinned(OTHER_CORE, "nice");
    command.args(["-n", "19", program]);
    command
}

fn print(name: &str, open: usize, (before, peak): (u64, u64), figures: &Figures) {
    let added = peak.saturating_sub(before);
    let each =
        if open == 0 { "-".to_owned() } else { format!("{:.1}", added as f64 / open as f64) };
    let open = if open == 0 { "-".to_owned() } else { open.to_string() };
    println!(
        "{name:<30} {open:>7} {:>9.1} {:>9.1} {each:>10} {:>9.0} {:>9.0} {:>7}",
        peak as f64 / 1024.0,
        added as f64 / 1024.0,
        figures.p50_us,
        figures.p99_us,
        figures.failed
    );
}

/// Waits until a flood has ended by itself, and returns how many of its requests failed.
fn end_of_flood(mut flood: Process) -> anyhow::Result<u64> {
    flood.wait_for_end()?;
    let printed = flood.printed();
    let line = printed.lines().find(|line| line.starts_with("requests: "));
    println!("{:<30} {}", "", line.with_context(|| format!("h2load: {printed}"))?);
    let failed = printed.lines().find_map(|line| {
        let counts = line.strip_prefix("requests: ")?.split(", ");
        counts.filter_map(|count| count.strip_suffix(" failed")).next()?.parse::<u64>().ok()
    });
    Ok(failed.unwrap_or_default())
}

/// Returns the far ends of what a process has established, of the connections that a filter of `ss`
/// lets through, or its own where the filter is on the far one.
fn ends(filter: &str, pid: u32) -> anyhow::Result<HashSet<SocketAddr>> {
    let mut list = Command::new("ss");
    list.args(["-Htnp", "state", "established", &format!("( {filter} )")]);
    let output = list.output().context("cannot run ss")?;
    let owner = format!(",pid={pid},");
    let clients = usize::from(filter.starts_with('s'));
    let printed = String::from_utf8_lossy(&output.stdout);
    let own = printed.lines().filter(|line| line.contains(&owner));
    // Two queues, then both addresses.
    Ok(own.filter_map(|line| line.split_whitespace().nth(2 + clients)?.parse().ok()).collect())
}

/// Returns a figure of `/proc/<pid>/status`, in KiB.
fn memory_kib(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.with_context(|| format!("process {pid} has no {name}"))
}
