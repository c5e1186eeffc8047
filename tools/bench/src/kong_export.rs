//! How long a configuration takes to become the message that data planes of Kong are sent.
//!
//! In this process and on one thread: a control plane makes the message once for all data planes of
//! a version. It is made from the entities as they are in memory, compressed as it is written.

use std::time::Instant;

use hybridctl::clock::Clock;
use hybridctl::plugins;
use hybridctl::snapshot::Snapshot;
use hybridctl::wire::kong::table::export::{Origin, reconfigure};

use crate::configuration;
use crate::report::Spread;

/// Measure how long a configuration takes to become a message for data planes of Kong
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of entities; may be given more than once
    #[arg(long = "entities", default_values_t = [30_000])]
    entities: Vec<usize>,
    /// How often each is made
    #[arg(long, default_value_t = 9)]
    rounds: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let catalog = plugins::catalog(|_| true);
    for size in &args.entities {
        let (config, _) = configuration::build(&catalog, *size)?;
        let snapshot = Snapshot::of(config);
        let origin = Origin { cluster_id: Clock::System.id(), timestamp: 1.0 };
        let (mut packed, mut unpacked) = (0, 0);
        let took = (0..args.rounds).map(|_| {
            let started = Instant::now();
            let made = reconfigure(&catalog, &snapshot, &origin, None);
            let made = made.expect("only data planes of 2.8 cannot be told all");
            (packed, unpacked) = (made.bytes.len(), made.unpacked_len);
            started.elapsed().as_secs_f64() * 1e3
        });
        let took = Spread::of(took);
        println!(
            "{size} entities: {:.0} ms ({:.0} to {:.0}), {} KiB, {} KiB unpacked",
            took.median,
            took.least,
            took.largest,
            packed >> 10,
            unpacked >> 10
        );
    }
    Ok(())
}
