//! Memory of a kept-alive connection that waits for its next request, beside nginx's.
//!
//! Resident memory of the whole process (nginx: of its worker, too) before and after so many
//! connections, each of which was answered once.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cpu::children;
use crate::gateway::{self, Gateway};
use crate::process::{Scratch, start_upstream};
use crate::yardstick::{self, Certificate};

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Measure the memory of an idle connection
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
}

/// Measures nginx, then the product.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.connections > 0, "--connections: expected at least 1");
    raise_limit(args.connections as u64 + 1024)?;
    let scratch = Scratch::create()?;
    let certificate = Certificate::make(scratch.path())?;
    let (_upstream, upstream) = start_upstream(scratch.path())?;
    {
        let (nginx, addresses) = yardstick::nginx(upstream, &certificate, scratch.path())?;
        measure("nginx", nginx.pid(), addresses.plain, args.connections)?;
    }
    let gateway = Gateway::start(&gateway::binary(args.hybridctl.as_deref())?, scratch.path())?;
    gateway.create_service(upstream)?;
    gateway::create_route(&mut gateway.admin(), "/")?;
    gateway.wait_until_served("/")?;
    measure("hybridctl", gateway.data_plane.pid(), gateway.proxy, args.connections)
}

/// Lets this process open so many files; those that it starts inherit the limit.
pub(crate) fn raise_limit(files: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(files));
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum })
        .with_context(|| format!("cannot open {files} files: raise the limit (ulimit -n)"))
}

fn measure(name: &str, pid: u32, address: SocketAddr, count: usize) -> anyhow::Result<()> {
    // What is allocated once is none of an idle connection's.
    open(address, 200)?;
    let before = resident_kib(pid)?;
    let connections = open(address, count)?;
    let after = resident_kib(pid)?;
    println!(
        "{name}: {:.1} MiB, {:.1} MiB with {count} idle connections, {:.2} KiB each",
        before as f64 / 1024.0,
        after as f64 / 1024.0,
        after.saturating_sub(before) as f64 / connections.len() as f64
    );
    Ok(())
}

/// Opens connections and has each answered once.
fn open(address: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut connections = Vec::with_capacity(count);
    let mut buffer = vec![0; 4096];
    for number in 0..count {
        let mut stream = TcpStream::connect(address)
            .with_context(|| format!("connection {number} was refused"))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        // The answer is small and its head comes with it.
        let read = stream.read(&mut buffer)?;
        anyhow::ensure!(
            buffer[..read].starts_with(b"HTTP/1.1 200"),
            "connection {number} was answered {:?}",
            String::from_utf8_lossy(&buffer[..read.min(64)])
        );
        connections.push(stream);
    }
    Ok(connections)
}

/// Returns the resident memory of a process and its children, in KiB.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for process in children(pid).into_iter().chain([pid]) {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        sum += kib.with_context(|| format!("process {process} has no VmRSS"))?;
    }
    Ok(sum)
}
