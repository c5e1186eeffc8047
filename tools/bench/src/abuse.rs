//! What clients that mean no good cost the others: `slowhttptest` in each of its ways, with the
//! memory of its connections and the latency of a client that behaves; and `h2load` as a figure of
//! HTTP/2 in order.
//!
//! Both tools are Debian's. slowhttptest keeps its connections open while this tool measures.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::gateway::{self, Gateway};
use crate::idle::{raise_limit, resident_kib};
use crate::process::{OTHER_CORE, Process, Scratch, pinned, start_upstream};
use crate::traffic::{Amount, Traffic, load};
use crate::yardstick::Addresses;

/// Measure slow clients (slowhttptest) and HTTP/2 (h2load)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of slow connections
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Seconds for each way of being slow
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
}

/// The ways of being slow, with the arguments that ask for them.
const WAYS: &[(&str, &[&str])] = &[
    ("heads that never end", &["-H", "-i", "1"]),
    ("bodies that never end", &["-B", "-i", "1", "-s", "1000000"]),
    ("clients that do not read", &["-X", "-w", "1", "-y", "2", "-z", "1", "-n", "5", "-k", "3"]),
];

/// Measures each way, then HTTP/2.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.connections > 0 && args.seconds > 2, "too few connections or seconds");
    raise_limit(2 * args.connections as u64 + 1024)?;
    let scratch = Scratch::create()?;
    let (_upstream, upstream) = start_upstream(scratch.path())?;
    let gateway = Gateway::start(&gateway::binary(args.hybridctl.as_deref())?, scratch.path())?;
    gateway.create_service(upstream)?;
    gateway::create_route(&mut gateway.admin(), "/")?;
    gateway.wait_until_served("/")?;
    let addresses = Addresses { plain: gateway.proxy, tls: gateway.tls };
    let amount = Amount { path: "/", connections: 4, rate: Some(500.0) };
    let pid = gateway.data_plane.pid();
    let seconds = f64::from(args.seconds) / 2.0;
    let quiet = load(Traffic::Http, addresses, amount, seconds)?;
    println!("nobody slow: p50 {:.0} us, p99 {:.0} us at 500/s", quiet.p50_us, quiet.p99_us);
    for (name, way) in WAYS {
        let before = resident_kib(pid)?;
        let mut command = pinned(OTHER_CORE, "slowhttptest");
        let path = if way.contains(&"-X") { "1m/" } else { "" };
        command.args(*way).args(["-c", &args.connections.to_string()]);
        command.args(["-r", &args.connections.to_string(), "-l", &args.seconds.to_string()]);
        command.args(["-u", &format!("http://{}/{path}", gateway.proxy)]);
        command.args(["-p", "3"]).current_dir(scratch.path());
        let slow = Process::start(command, "slowhttptest", scratch.path())?;
        let open = wait_for_connections(&gateway, args.connections)?;
        let during = load(Traffic::Http, addresses, amount, seconds)?;
        let after = resident_kib(pid)?;
        println!(
            "{name}: {open} connections, {:.1} KiB each; others: p50 {:.0} us, p99 {:.0} us \
             ({:.2} times), {} failed",
            after.saturating_sub(before) as f64 / open.max(1) as f64,
            during.p50_us,
            during.p99_us,
            during.p99_us / quiet.p99_us,
            during.failed
        );
        slow.kill()?;
    }
    let amount = Amount { path: "/", connections: 16, rate: None };
    let http2 = load(Traffic::Http2, addresses, amount, f64::from(args.seconds))?;
    println!(
        "HTTP/2: {:.0} requests/s, {} of {:.0} failed",
        http2.rps, http2.failed, http2.requests
    );
    Ok(())
}

/// Waits until so many connections are open, or no more come.
fn wait_for_connections(gateway: &Gateway, wanted: usize) -> anyhow::Result<usize> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let filter = format!("( sport = :{} )", gateway.proxy.port());
        let mut list = Command::new("ss");
        list.args(["-Htn", "state", "established", &filter]).stderr(Stdio::null());
        let output = list.output().context("cannot run ss")?;
        let open = String::from_utf8_lossy(&output.stdout).lines().count();
        if open >= wanted || Instant::now() > deadline {
            return Ok(open);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
