//! From an acknowledged Admin write to the first answer of the new route.
//!
//! The clock starts when the answer to `POST /services/bench/routes` is complete and stops at
//! the first 200 of the route, asked for in a tight loop over one kept-alive connection; so a
//! sample is never finer than one proxied request.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::gateway::{self, Gateway};
use crate::process::{Scratch, start_upstream};
use crate::report::Percentiles;

/// Connections that write the routes of the preload at the same time.
const PRELOAD_WRITERS: usize = 16;
/// Longest wait for one route.
const SAMPLE_MAX: Duration = Duration::from_secs(30);

/// Measure from an acknowledged Admin write to the first answer of the new route
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of writes measured at each size
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// Number of routes that exist before the measured writes; may be given more than once
    #[arg(long = "routes", default_values_t = [10, 10_000])]
    routes: Vec<usize>,
    /// Binary to measure; by default the one built beside this tool
    #[arg(long)]
    hybridctl: Option<PathBuf>,
}

/// Measures at each size, smallest first, on the same two planes.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.samples > 0, "--samples: expected at least 1");
    let scratch = Scratch::create()?;
    let (_upstream, upstream) = start_upstream(scratch.path())?;
    let gateway = Gateway::start(&gateway::binary(args.hybridctl.as_deref())?, scratch.path())?;
    gateway.create_service(upstream)?;

    let mut sizes = args.routes.clone();
    sizes.sort_unstable();
    let mut existing = 0;
    for size in sizes {
        if size > existing {
            preload(&gateway, existing, size)?;
        }
        existing = size.max(existing);
        measure(&gateway, existing, args.samples)?;
        existing += args.samples;
    }
    Ok(())
}

/// Creates the routes numbered `from..to` and waits until the data plane serves all of them.
fn preload(gateway: &Gateway, from: usize, to: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..PRELOAD_WRITERS)
            .map(|writer| {
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut admin = gateway.admin();
                    for number in (from + writer..to).step_by(PRELOAD_WRITERS) {
                        gateway::create_route(&mut admin, &format!("/preload/{number}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a preload writer panicked")))
        })
    })?;
    let written = started.elapsed().as_secs_f64();
    // A probe written after all the others: what serves it serves them.
    let probe = format!("/preload-probe/{to}");
    gateway::create_route(&mut gateway.admin(), &probe)?;
    gateway.wait_until_served(&probe)?;
    println!("preloaded {} routes at {:.0}/s", to - from, (to - from) as f64 / written);
    Ok(())
}

fn measure(gateway: &Gateway, existing: usize, samples: usize) -> anyhow::Result<()> {
    let mut admin = gateway.admin();
    let mut proxy = Client::new(gateway.proxy);
    let mut writes_ns = Vec::with_capacity(samples);
    let mut waits_ns = Vec::with_capacity(samples);
    for sample in 0..samples {
        let path = format!("/propagation/{existing}/{sample}/");
        let asked = Instant::now();
        gateway::create_route(&mut admin, &path)?;
        let acknowledged = Instant::now();
        while proxy.send("GET", &path, None)?.status != 200 {
            anyhow::ensure!(
                acknowledged.elapsed() < SAMPLE_MAX,
                "the data plane does not serve {path}:\n{}",
                gateway.data_plane.printed()
            );
        }
        waits_ns.push(acknowledged.elapsed().as_nanos() as u64);
        writes_ns.push((acknowledged - asked).as_nanos() as u64);
    }
    println!("at {existing} routes, {samples} writes:");
    print("  acknowledged -> served", &Percentiles::of(waits_ns));
    print("  asked -> acknowledged ", &Percentiles::of(writes_ns));
    Ok(())
}

fn print(label: &str, percentiles: &Percentiles) {
    let ms = |ns: u64| ns as f64 / 1e6;
    println!(
        "{label}: p50 {:.2} ms, p99 {:.2} ms, largest {:.2} ms",
        ms(percentiles.at(500)),
        ms(percentiles.at(990)),
        ms(percentiles.largest())
    );
}
