//! What choosing a target costs: nanoseconds a pick on one core, by algorithm and number of targets,
//! all of them well and with a tenth down; and what it costs to build a balancer, and to add a target.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hybridctl::balancer::address::Moment;
use hybridctl::balancer::{Ask, Balancer, Tried, hash};
use hybridctl::domain::kinds::target::Target;
use hybridctl::domain::kinds::upstream::{self, Upstream};
use hybridctl::plugins;
use serde_json::{Value, json};

/// Measure what choosing a target costs, by algorithm and number of targets
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many targets; may be given several times
    #[arg(long, default_values_t = [10, 1_000])]
    targets: Vec<usize>,
    /// How many picks
    #[arg(long, default_value_t = 2_000_000)]
    picks: u64,
}

/// Prints a line for each algorithm and number of targets.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    println!("algorithm            targets  ns/pick  ns/pick (10 % down)  build ms  add ms");
    for algorithm in ["round-robin", "consistent-hashing", "least-connections", "latency"] {
        for count in &args.targets {
            measure(algorithm, *count, args.picks)?;
        }
    }
    Ok(())
}

fn measure(algorithm: &str, count: usize, picks: u64) -> anyhow::Result<()> {
    let upstream = upstream(algorithm)?;
    let all: Vec<_> = (0..=count).map(target).collect::<Result<_, _>>()?;
    let some = all.get(1..).context("there is a target")?;
    let started = Instant::now();
    let balancer = Balancer::build(&upstream, some, None);
    let build_ms = started.elapsed().as_secs_f64() * 1_000.0;
    let started = Instant::now();
    let more = Balancer::build(&upstream, &all, Some(&balancer));
    let add_ms = started.elapsed().as_secs_f64() * 1_000.0;
    drop(more);
    for member in balancer.addresses().iter().step_by(7) {
        member.address.note_latency(Duration::from_millis(20), Moment::now());
    }
    let well = time(&balancer, picks)?;
    for member in balancer.addresses().iter().step_by(10) {
        member.address.health.set_available(false);
    }
    let ill = time(&balancer, picks)?;
    println!("{algorithm:20} {count:7} {well:8.0} {ill:20.0} {build_ms:9.2} {add_ms:7.2}");
    Ok(())
}

fn time(balancer: &Balancer, picks: u64) -> anyhow::Result<f64> {
    let (tried, now) = (Tried::default(), Moment::now());
    let started = Instant::now();
    for key in 0..picks {
        let hash = hash::of(&key.to_be_bytes());
        let picked = balancer.pick(&Ask { hash, tried: &tried, now });
        std::hint::black_box(picked.context("there is a target")?);
    }
    Ok(started.elapsed().as_nanos() as f64 / picks as f64)
}

fn upstream(algorithm: &str) -> anyhow::Result<Upstream> {
    let mut document = json!({
        "id": uuid::Uuid::nil(), "name": "u.test", "algorithm": algorithm,
        "created_at": 1, "updated_at": 1,
    });
    let fields = document.as_object_mut().context("an object was made")?;
    let done = plugins::catalog(|_| true).complete(upstream::KIND, fields);
    done.map_err(|errors| anyhow::anyhow!("{:?}", errors.as_map()))?;
    Ok(serde_json::from_value(document)?)
}

fn target(number: usize) -> anyhow::Result<Target> {
    let ip = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
    let document: Value = json!({
        "id": uuid::Uuid::nil(), "created_at": 1.0, "updated_at": 1.0,
        "upstream": {"id": uuid::Uuid::nil()}, "target": format!("{ip}:80"),
        "weight": 50 + number % 100,
    });
    Ok(serde_json::from_value(document)?)
}
