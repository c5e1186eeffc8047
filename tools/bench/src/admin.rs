//! Admin writes and reads against one control plane, over kept-alive connections.
//!
//! Each client waits for its answer before it asks again, so a write is counted once it is durable.
//! Clients and control plane share the machine. Beside the writes stands what one `fsync` of the same
//! file system costs in this run: a control plane without group commit could do no better than
//! one write for each.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use throwaway_postgres::Server;

use crate::gateway::{self, ControlPlane};
use crate::process::Scratch;
use crate::report::Percentiles;

/// How many appends the cost of one fsync is taken from.
const FSYNCS: u32 = 500;

/// Measure durable Admin writes and reads, with one client and with several
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the control plane keeps its log; a Postgres server is started for the run
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    database: Database,
    /// Number of clients; may be given more than once
    #[arg(long = "clients", default_values_t = [1, 10])]
    clients: Vec<usize>,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
}

/// Measures writes, then reads, with each number of clients.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let scratch = Scratch::create()?;
    let fsync = fsync_cost(scratch.path())?;
    println!("one append and fsync: {:.3} ms", fsync.as_secs_f64() * 1e3);
    let binary = gateway::binary(args.hybridctl.as_deref())?;
    let (_server, settings) = match args.database {
        Database::Sqlite => (None, Vec::new()),
        Database::Postgres => {
            let (server, settings) = postgres(&binary, scratch.path())?;
            (Some(server), settings)
        }
    };
    let plane = ControlPlane::start(&binary, scratch.path(), "0-1023", &settings)?;
    let time = Duration::from_secs_f64(args.seconds);

    let service = r#"{"name":"bench","url":"http://127.0.0.1:1"}"#;
    Client::new(plane.admin).write("POST", "/services", service)?;
    for clients in &args.clients {
        let run = repeat(plane.admin, *clients, time, &|client, worker, number| {
            let body = format!(r#"{{"paths":["/{clients}/{worker}/{number}"]}}"#);
            client.write("POST", "/services/bench/routes", &body)
        })?;
        let per_fsync = run.per_second * fsync.as_secs_f64();
        print(&format!("durable writes, {clients} clients ({per_fsync:.2} for each fsync)"), &run);
    }
    let requests = [("one entity", "/services/bench"), ("100 routes a page", "/routes?size=100")];
    for (name, path) in requests {
        for clients in &args.clients {
            let run = repeat(plane.admin, *clients, time, &|client, _, _| {
                client.send("GET", path, None).map(drop)
            })?;
            print(&format!("reads of {name}, {clients} clients"), &run);
        }
    }
    Ok(())
}

/// Starts a server whose commits wait for the disk, and makes the tables in it.
fn postgres(binary: &Path, folder: &Path) -> anyhow::Result<(Server, Vec<(String, String)>)> {
    let server =
        Server::start(throwaway_postgres::Options::default()).map_err(anyhow::Error::msg)?;
    let settings = [
        ("KONG_DATABASE", "postgres"),
        ("KONG_PG_PORT", &server.port().to_string()),
        ("KONG_PG_USER", throwaway_postgres::USER),
        ("KONG_PG_DATABASE", throwaway_postgres::DATABASE),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut bootstrap = Command::new(binary);
    bootstrap.args(["migrations", "bootstrap"]).env("KONG_PREFIX", folder);
    let output = bootstrap.envs(settings.iter().cloned()).output()?;
    anyhow::ensure!(
        output.status.success(),
        "the tables were not made: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((server, settings))
}

/// What became of one measurement.
struct Run {
    per_second: f64,
    latencies: Percentiles,
}

type Call<'a> = dyn Fn(&mut Client, usize, usize) -> anyhow::Result<()> + Sync + 'a;

/// Lets each client repeat a call until the time is over. The call gets the numbers of its client
/// and of the repetition.
fn repeat(
    admin: SocketAddr,
    clients: usize,
    time: Duration,
    call: &Call<'_>,
) -> anyhow::Result<Run> {
    let started = Instant::now();
    let worker = |worker: usize| -> anyhow::Result<Vec<u64>> {
        let mut client = Client::new(admin);
        let mut latencies_ns = Vec::new();
        while started.elapsed() < time {
            let asked = Instant::now();
            call(&mut client, worker, latencies_ns.len())?;
            latencies_ns.push(asked.elapsed().as_nanos() as u64);
        }
        Ok(latencies_ns)
    };
    let mut all = Vec::new();
    thread::scope(|scope| -> anyhow::Result<()> {
        let workers: Vec<_> = (0..clients)
            .map(|i| {
                let worker = &worker;
                scope.spawn(move || worker(i))
            })
            .collect();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        Ok(())
    })?;
    let per_second = all.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Run { per_second, latencies: Percentiles::of(all) })
}

fn print(label: &str, run: &Run) {
    let ms = |ns: u64| ns as f64 / 1e6;
    println!(
        "{label}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms, largest {:.2} ms",
        run.per_second,
        ms(run.latencies.at(500)),
        ms(run.latencies.at(990)),
        ms(run.latencies.largest()),
    );
}

/// Returns the mean cost of appending a row's worth of bytes durably, beside the database.
fn fsync_cost(folder: &Path) -> anyhow::Result<Duration> {
    let mut file = File::create(folder.join("fsync"))?;
    let started = Instant::now();
    for _ in 0..FSYNCS {
        file.write_all(&[0; 512])?;
        file.sync_data()?;
    }
    Ok(started.elapsed() / FSYNCS)
}
