//! A control plane with a thousand data planes.
//!
//! The control plane is a process of its own with its default database, over which a configuration
//! was put before it started, and the data planes start from a cache of it, unless they are to start
//! empty. The data planes are simulated in this process ([`plane`]): real mutual
//! TLS and the product's session rules, a socket each, and nothing that serves traffic. Both share
//! the machine, so times have the work of a thousand data planes in them, handshakes above all.
//!
//! Times of a change begin when the Admin API is asked for it and end when a data plane has verified
//! it. Bytes are those that came over a data plane's sockets, TLS and its handshakes included. Those
//! of a restart begin when the new process is started; the old one was killed just before. While the
//! data planes come back, somebody reads and writes through the Admin API ([`probe`]), and they are
//! in sync when all serve what was written last.

mod link;
mod plane;
mod probe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::hash::ConfigHash;
use hybridctl::plugins;
use hybridctl::settings::KONG_VERSION;
use hybridctl::wire::frame::{Hello, PROTOCOL, Position};
use hybridctl::wire::session::follower::Memory;
use hybridctl::writer::Head;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::link::{Count, Way};
use self::plane::{Plane, Report, World};
use self::probe::Probe;
use crate::client::Client;
use crate::configuration;
use crate::cpu::Usage;
use crate::gateway::{self, CERTIFICATE, ControlPlane, KEY};
use crate::process::Scratch;
use crate::report::Percentiles;

/// Longest wait for all data planes.
const SYNC_MAX: Duration = Duration::from_secs(180);

/// How long after a restart the control plane's idle CPU is looked at, and for how long.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// All cores.
const CORES: &str = "0-1023";

/// Measure a control plane with a thousand data planes: a change, a restart, some that do not read
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of data planes
    #[arg(long, default_value_t = 1_000)]
    planes: usize,
    /// Number of entities; may be given more than once
    #[arg(long = "entities", default_values_t = [10_000, 100_000])]
    entities: Vec<usize>,
    /// Number of one-entity changes that are sent as deltas
    #[arg(long, default_value_t = 20)]
    changes: usize,
    /// Number of one-entity changes that are fetched by hash
    #[arg(long, default_value_t = 3)]
    pulls: usize,
    /// Number of data planes that do not read during a hundred more changes
    #[arg(long, default_value_t = 10)]
    stalled: usize,
    /// Start the data planes without a cache, so that each fetches everything
    #[arg(long)]
    empty: bool,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
}

/// Changes that are made while some data planes do not read.
const CHANGES_UNREAD: usize = 100;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.stalled < args.planes, "--stalled: expected fewer than --planes");
    raise_file_limit()?;
    for size in &args.entities {
        measure(args, *size)?;
    }
    Ok(())
}

/// Each data plane has two sockets while it fetches.
fn raise_file_limit() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn measure(args: &Args, size: usize) -> anyhow::Result<()> {
    let scratch = Scratch::create()?;
    let folder = scratch.path();
    let binary = gateway::binary(args.hybridctl.as_deref())?;
    let catalog = Arc::new(plugins::catalog(|_| true));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (config, routes) = configuration::build(&catalog, size)?;
    fs::create_dir(folder.join("control_plane"))?;
    let file = folder.join("control_plane/hybrid.db");
    let head = runtime.block_on(configuration::store(&file, &catalog, config))?;

    let control = ControlPlane::start(&binary, folder, CORES, &[])?;
    println!("{size} entities, {} data planes; control plane {}", args.planes, memory(&control)?);
    let way = Way::new(control.cluster, &folder.join(CERTIFICATE), &folder.join(KEY))?;
    let cached = (!args.empty).then_some(&*head);
    let mut fleet = Fleet::new(&runtime, args.planes, (catalog, cached), way, routes);
    drop(head);
    fleet.first_contact(&control)?;
    fleet.changes(&control, "as a delta", args.changes)?;
    fleet.world.pulls.store(true, Ordering::Relaxed);
    fleet.changes(&control, "fetched by hash", args.pulls)?;
    fleet.world.pulls.store(false, Ordering::Relaxed);
    if args.stalled > 0 {
        fleet.some_do_not_read(&control, args.stalled)?;
    }
    let addresses = (control.admin, control.cluster);
    control.process.kill()?;
    let began = Instant::now();
    let control = ControlPlane::start_again(&binary, folder, CORES, addresses, &[])?;
    fleet.come_back(&control, began)?;
    fleet.print_ends();
    runtime.shutdown_background();
    Ok(())
}

/// The data planes, seen from where they are steered.
struct Fleet {
    world: Arc<World>,
    counts: Vec<Count>,
    reports: Receiver<Report>,
    stalled: watch::Sender<usize>,
    began: Instant,
    routes: Vec<String>,
    written: usize,
}

impl Fleet {
    /// Starts them all at once, with a head in their caches or with nothing.
    fn new(
        runtime: &Runtime,
        planes: usize,
        (catalog, cached): (Arc<Catalog>, Option<&Head>),
        way: Way,
        routes: Vec<String>,
    ) -> Self {
        let plugins = catalog.plugins();
        let hello = Hello {
            protocol: PROTOCOL,
            node_id: uuid::Uuid::nil(),
            hostname: "bench".to_owned(),
            version: KONG_VERSION.to_owned(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: BTreeMap::new(),
            plugins: plugins.map(|it| (it.name.to_owned(), it.version.to_owned())).collect(),
            applied: None,
            rejected: Vec::new(),
        };
        let (stalled, stalls) = watch::channel(0);
        let world = Arc::new(World {
            catalog,
            way,
            hello,
            pulls: false.into(),
            stalled: stalls,
            configs: cached
                .map(|head| head.snapshot.clone())
                .into_iter()
                .collect::<VecDeque<_>>()
                .into(),
            ends: BTreeMap::new().into(),
        });
        let applied = cached.map(|Head { seq, config_hash, .. }| {
            let (seq, config_hash) = (*seq, *config_hash);
            Position { epoch: 0, seq, config_hash, revision: 0 }
        });
        let memory = Memory { applied, ..Memory::default() };
        let (told, reports) = channel();
        let began = Instant::now();
        let counts: Vec<_> = (0..planes).map(|_| Count::default()).collect();
        for (number, came) in counts.iter().cloned().enumerate() {
            let (world, reports) = (world.clone(), told.clone());
            runtime.spawn(Plane { number, world, came, reports }.run(memory.clone()));
        }
        Self { world, counts, reports, stalled, began, routes, written: 0 }
    }

    /// Waits until all of these data planes serve a config; returns when each did, in nanoseconds
    /// after `began`.
    fn wait(
        &self,
        planes: std::ops::Range<usize>,
        config: ConfigHash,
        began: Instant,
    ) -> anyhow::Result<Vec<u64>> {
        let mut waited_for: BTreeSet<_> = planes.collect();
        let mut took_ns = Vec::new();
        while !waited_for.is_empty() {
            let left = SYNC_MAX.saturating_sub(began.elapsed());
            let report = self.reports.recv_timeout(left).with_context(|| {
                self.print_ends();
                format!("{} data planes are not in sync", waited_for.len())
            })?;
            if report.serves == config && waited_for.remove(&report.plane) {
                took_ns.push(report.at.saturating_duration_since(began).as_nanos() as u64);
            }
        }
        Ok(took_ns)
    }

    /// Changes one route; returns the config that this leads to.
    fn change(&mut self, control: &ControlPlane) -> anyhow::Result<ConfigHash> {
        let route = &self.routes[self.written * 7919 % self.routes.len()];
        self.written += 1;
        let body = format!(r#"{{"paths":["/changed/{}"]}}"#, self.written);
        let path = format!("/routes/{route}");
        let response = Client::new(control.admin).send("PATCH", &path, Some(&body))?;
        anyhow::ensure!(response.status == 200, "a change was answered {}", response.status);
        let tag = response.etag.context("a change has no ETag")?;
        tag.parse().ok().with_context(|| format!("{tag:?} is no hash"))
    }

    fn came(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    fn came_since(&self, before: &[u64]) -> Percentiles {
        Percentiles::of(self.came().iter().zip(before).map(|(now, before)| now - before).collect())
    }

    fn first_contact(&mut self, control: &ControlPlane) -> anyhow::Result<()> {
        let probe = Probe::start(control.admin, self.routes.clone());
        let mut seen = BTreeSet::new();
        while seen.len() < self.counts.len() {
            let left = SYNC_MAX.saturating_sub(self.began.elapsed());
            let report = self.reports.recv_timeout(left);
            let report = report.inspect_err(|_| self.print_ends());
            seen.insert(report.context("data planes do not come")?.plane);
        }
        let obtained = self.began.elapsed();
        let words = probe.end()?;
        let last = self.change(control)?;
        self.wait(0..self.counts.len(), last, self.began)?;
        let came = self.came_since(&vec![0; self.counts.len()]);
        println!(
            "  first contact: all serve after {:.1} s, {}; {}; {words}",
            obtained.as_secs_f64(),
            bytes(&came),
            memory(control)?
        );
        Ok(())
    }

    fn changes(&mut self, control: &ControlPlane, how: &str, count: usize) -> anyhow::Result<()> {
        let (mut took_ns, mut all_ns, mut came) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let before = self.came();
            let began = Instant::now();
            let config = self.change(control)?;
            let each_ns = self.wait(0..self.counts.len(), config, began)?;
            all_ns.extend(each_ns.iter().copied().max());
            took_ns.extend(each_ns);
            came.extend(self.came().iter().zip(&before).map(|(now, before)| now - before));
        }
        if count > 0 {
            println!(
                "  {count} changes {how}: {}; all after {}; {}; {}",
                ms(&Percentiles::of(took_ns)),
                ms(&Percentiles::of(all_ns)),
                bytes(&Percentiles::of(came)),
                memory(control)?
            );
        }
        Ok(())
    }

    fn some_do_not_read(&mut self, control: &ControlPlane, stalled: usize) -> anyhow::Result<()> {
        self.stalled.send_replace(stalled);
        let before = memory(control)?;
        let mut took_ns = Vec::new();
        let mut last = ConfigHash([0; 32]);
        for _ in 0..CHANGES_UNREAD {
            let began = Instant::now();
            last = self.change(control)?;
            took_ns.extend(self.wait(stalled..self.counts.len(), last, began)?);
        }
        let after = memory(control)?;
        let (began, came) = (Instant::now(), self.came());
        self.stalled.send_replace(0);
        self.wait(0..stalled, last, began)?;
        let caught_up = began.elapsed();
        let came = self.came_since(&came);
        println!(
            "  {CHANGES_UNREAD} changes while {stalled} do not read: the others {}; {before} before, \
             {after} after; they read again and are in sync after {:.0} ms, with at most {} bytes",
            ms(&Percentiles::of(took_ns)),
            caught_up.as_secs_f64() * 1e3,
            came.largest()
        );
        Ok(())
    }

    fn come_back(&mut self, control: &ControlPlane, began: Instant) -> anyhow::Result<()> {
        let serves = began.elapsed();
        let probe = Probe::start(control.admin, self.routes.clone());
        let mut seen = BTreeSet::new();
        while seen.len() < self.counts.len() {
            let left = SYNC_MAX.saturating_sub(began.elapsed());
            let report = self.reports.recv_timeout(left);
            let report = report.inspect_err(|_| self.print_ends());
            let report = report.context("data planes do not come back")?;
            // One that the old process served last may be told of late.
            if report.at >= began {
                seen.insert(report.plane);
            }
        }
        let back = began.elapsed();
        let words = probe.end()?;
        let last = self.change(control)?;
        self.wait(0..self.counts.len(), last, began)?;
        let in_sync = began.elapsed();
        println!(
            "  killed and started: serves after {:.1} s, all are back after {:.1} s, in sync after \
             {:.1} s; {}; {words}",
            serves.as_secs_f64(),
            back.as_secs_f64(),
            in_sync.as_secs_f64(),
            memory(control)?
        );
        let before = Usage::read(control.process.pid())?;
        std::thread::sleep(IDLE_AFTER);
        let ran_ns = Usage::read(control.process.pid())?.since_ns(&before, "");
        println!(
            "  then idle: {:.1} % of a core; {}",
            ran_ns as f64 / IDLE_AFTER.as_nanos() as f64 * 100.0,
            memory(control)?
        );
        Ok(())
    }

    /// Prints why sessions ended, those of a killed control plane included.
    fn print_ends(&self) {
        let Ok(ends) = self.world.ends.lock() else { return };
        for (why, count) in ends.iter() {
            println!("  {count} connections ended: {why}");
        }
    }
}

/// Returns how much memory a control plane has and had at the most, in words.
fn memory(control: &ControlPlane) -> anyhow::Result<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", control.process.pid()))?;
    let kib = |name: &str| -> anyhow::Result<usize> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let field = line.and_then(|line| line.split_whitespace().next());
        Ok(field.with_context(|| format!("{name} is missing"))?.parse()?)
    };
    Ok(format!("RSS {:.1} MiB (peak {})", kib("VmRSS:")? as f64 / 1024.0, kib("VmHWM:")? >> 10))
}

fn ms(took_ns: &Percentiles) -> String {
    let ms = |ns: u64| ns as f64 / 1e6;
    format!(
        "p50 {:.0} p99 {:.0} largest {:.0} ms",
        ms(took_ns.at(500)),
        ms(took_ns.at(990)),
        ms(took_ns.largest())
    )
}

fn bytes(came: &Percentiles) -> String {
    format!("{} bytes each (largest {})", came.at(500), came.largest())
}
