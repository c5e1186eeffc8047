//! Both sides of many sessions over a bad network, from a seed: frames are lost, doubled, swapped,
//! cut off and late; old and forged heads are slipped in; either side crashes; control planes that
//! share a log are behind it; operators freeze, pin, roll back and restore an older copy.
//!
//! Invariants, whatever happens:
//! - a data plane serves verified snapshots alone, and only such as were published where their
//!   head says;
//! - its position never falls, by epoch, revision and seq, as long as its cache is kept;
//! - a config that was rejected is not fetched again before another one was served;
//! - when it is quiet, each data plane serves what it is to get.

mod log;
mod plane;
mod world;

use world::World;

/// How many seeds are tried unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 200;

/// Calls a simulation with each seed; `SIM_SEED` is one seed alone. A failure names its seed.
pub(in crate::wire) fn for_each_seed(simulate: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let failure = FailureNote(seed);
        simulate(seed);
        drop(failure);
    }
}

/// Tells the seed when a simulation panics.
struct FailureNote(u64);

impl Drop for FailureNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SIM_SEED={} shows this failure again", self.0);
        }
    }
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..400 {
        world.step();
    }
    world.settle();
    world.lift_all_orders();
    world.settle();
}

#[test]
fn all_converge_after_any_weather() {
    for_each_seed(simulate);
}
