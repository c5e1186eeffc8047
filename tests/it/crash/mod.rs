//! Crashes: real processes that are killed at every step of their work, and what is there after.
//!
//! A scenario first runs to its end and records which failpoints it reaches, and how often. Then it
//! runs again for one point after the other, in a place of its own, and is killed there. Of each
//! name some hits are tried, spread over all of them; `CRASH_POINTS` sets how many (`0` for all).
//!
//! To cover a new step of the product: put the failpoint there, and let a scenario get there. A
//! failpoint that no scenario reaches fails its test.

mod compact;
mod control;
mod data;
mod export;
mod log;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use crate::source::sources;

/// How many runs are under way at once, whichever tests they are of: two cores are busy, and disks are
/// waited for. Of more, none would get far within its time.
const WIDTH: usize = 8;

/// Where they are under way.
static PLACES: Semaphore = Semaphore::const_new(WIDTH);

/// How fine the clock of [`within`] is.
const TICK: Duration = Duration::from_millis(10);

/// A moment at which a process dies: when it reaches a failpoint for the n-th time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    name: String,
    hit: usize,
}

impl Point {
    /// Has a process that is started by `command` die there.
    fn arm(&self, command: &mut Command) {
        command.env("HYBRIDCTL_FAIL_AT", format!("{}:{}", self.name, self.hit));
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.hit)
    }
}

/// What a run reaches.
struct Record {
    path: PathBuf,
}

impl Record {
    fn new(directory: &Path) -> Self {
        Self { path: directory.join("reached") }
    }

    /// Has a process that is started by `command` write here what it reaches.
    fn attach(&self, command: &mut Command) {
        command.env("HYBRIDCTL_FAIL_RECORD", &self.path);
    }

    /// Adds what was reached to another record.
    fn append_to(&self, other: &Self) {
        let mut all = fs::read_to_string(&other.path).unwrap_or_default();
        all.push_str(&fs::read_to_string(&self.path).unwrap());
        fs::write(&other.path, all).unwrap();
    }

    /// Returns how often each failpoint was reached.
    fn hits(&self) -> BTreeMap<String, usize> {
        let mut hits = BTreeMap::new();
        for name in fs::read_to_string(&self.path).unwrap_or_default().lines() {
            *hits.entry(name.to_owned()).or_default() += 1;
        }
        hits
    }

    /// Returns points of some names, at the most so many of each unless `CRASH_POINTS` says
    /// otherwise, spread evenly over the hits, the first and the last included.
    fn points_of(&self, wanted: impl Fn(&str) -> bool, most: usize) -> Vec<Point> {
        let told = std::env::var("CRASH_POINTS").ok().and_then(|count| count.parse().ok());
        let most = match told.unwrap_or(most) {
            0 => usize::MAX,
            most => most,
        };
        let mut points = Vec::new();
        for (name, hits) in self.hits().into_iter().filter(|(name, _)| wanted(name)) {
            let count = hits.min(most);
            for index in 0..count {
                let hit = 1 + index * (hits - 1) / (count - 1).max(1);
                points.push(Point { name: name.clone(), hit });
            }
        }
        points
    }

    /// Fails if a failpoint of these folders was not reached.
    fn expect_all_of(&self, folders: &[&str], except: &[&str]) {
        let reached: BTreeSet<_> = self.hits().into_keys().collect();
        let missing: Vec<_> = failpoints(folders)
            .into_iter()
            .filter(|name| !reached.contains(name) && !except.contains(&&**name))
            .collect();
        assert!(missing.is_empty(), "no scenario reaches the failpoints {missing:?}");
    }
}

/// Returns the names of the failpoints in the files whose paths begin so.
fn failpoints(folders: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources("src") {
        if !folders.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        for part in source.text.split("failpoint::hit(\"").skip(1) {
            names.extend(part.split('"').next().map(str::to_owned));
        }
    }
    names
}

/// Runs at each of the points and returns how many of them were reached: of a few the moment
/// depends on time, and there the run goes to its end.
async fn at_each<P, F: Future<Output = bool>>(points: Vec<P>, run: impl Fn(P) -> F) -> usize {
    let run = &run;
    let runs = points.into_iter().map(|point| async move {
        let _place = PLACES.acquire().await;
        run(point).await
    });
    let runs = futures_util::stream::iter(runs);
    runs.buffer_unordered(WIDTH).filter(|reached| std::future::ready(*reached)).count().await
}

/// Waits for something as long as `limit` says, by a clock that goes as slowly as everything else
/// where the machine is busy.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let end = async {
        for _ in 0..limit.as_millis() / TICK.as_millis() {
            ticks.tick().await;
        }
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = end => None,
    }
}

/// Returns whether a process was killed where it should be, and fails if it ended otherwise than
/// that or well.
fn was_killed(status: ExitStatus, point: &Point) -> bool {
    assert!(status.success() || status.signal() == Some(9), "{point}: it ended with {status}");
    !status.success()
}
