//! Connection and request counters, one shard a core, added up when somebody asks.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::names;

/// The counters of a process.
#[derive(Debug)]
pub struct Counters {
    cores: Box<[Core]>,
}

/// The counters of one core.
///
/// Aligned so that two cores never write to the same cache line (pairs of lines are fetched
/// together).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Core {
    accepted: AtomicU64,
    handled: AtomicU64,
    requests: AtomicU64,
    /// Entered and left counts, so that a gauge is a difference and each side only grows.
    entered: [AtomicU64; 3],
    left: [AtomicU64; 3],
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A request head is being read (or the TLS handshake goes on).
    Reading,
    /// A request is being served.
    Writing,
    /// The next request is awaited.
    Waiting,
}

impl Counters {
    /// Returns counters for `cores` cores, at least one.
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self { cores: (0..cores.max(1)).map(|_| Core::default()).collect() })
    }

    /// Returns the writing end for core `index`; indexes past the last core share shards.
    pub fn core(self: &Arc<Self>, index: usize) -> CoreCounters {
        CoreCounters { counters: self.clone(), index: index % self.cores.len() }
    }

    /// Adds all cores up. Each number is exact; they are not taken at one instant.
    pub fn snapshot(&self) -> Snapshot {
        let sum = |pick: fn(&Core) -> &AtomicU64| {
            self.cores.iter().map(|core| pick(core).load(Ordering::Relaxed)).sum::<u64>()
        };
        let gauge = |activity: Activity| {
            let side = |pick: fn(&Core) -> &[AtomicU64; 3]| {
                let one = |core| pick(core)[activity as usize].load(Ordering::Relaxed);
                self.cores.iter().map(one).sum::<u64>()
            };
            // Left is read first and can only trail; saturating covers a race all the same.
            let left = side(|core| &core.left);
            side(|core| &core.entered).saturating_sub(left)
        };
        let (reading, writing, waiting) =
            (gauge(Activity::Reading), gauge(Activity::Writing), gauge(Activity::Waiting));
        Snapshot {
            connections_accepted: sum(|core| &core.accepted),
            connections_active: reading + writing + waiting,
            connections_handled: sum(|core| &core.handled),
            connections_reading: reading,
            connections_waiting: waiting,
            connections_writing: writing,
            total_requests: sum(|core| &core.requests),
            streams: None,
        }
    }
}

/// The counters as one core writes them.
#[derive(Clone, Debug)]
pub struct CoreCounters {
    counters: Arc<Counters>,
    index: usize,
}

impl CoreCounters {
    /// Counts a connection that was accepted and is served: it counts as open, and at first as
    /// reading, until the returned value is dropped.
    pub fn connection(&self) -> OpenConnection {
        add(&self.shard().accepted);
        add(&self.shard().handled);
        add(&self.shard().entered[Activity::Reading as usize]);
        OpenConnection { core: self.clone(), activity: Cell::new(Activity::Reading) }
    }

    /// Counts a connection that was accepted and closed at once, for want of resources.
    pub fn turned_away(&self) {
        add(&self.shard().accepted);
    }

    /// Counts a request.
    pub fn request(&self) {
        add(&self.shard().requests);
    }

    fn shard(&self) -> &Core {
        &self.counters.cores[self.index]
    }
}

/// A connection that counts as open until this value is dropped.
#[derive(Debug)]
pub struct OpenConnection {
    core: CoreCounters,
    activity: Cell<Activity>,
}

impl OpenConnection {
    /// Counts the connection under what it does from now on.
    pub fn set(&self, activity: Activity) {
        let before = self.activity.replace(activity);
        if before != activity {
            add(&self.core.shard().entered[activity as usize]);
            add(&self.core.shard().left[before as usize]);
        }
    }

    /// Counts a request of this connection, which is being served from now on.
    pub fn request(&self) {
        self.core.request();
        self.set(Activity::Writing);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        add(&self.core.shard().left[self.activity.get() as usize]);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl std::ops::Add for Snapshot {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            connections_accepted: self.connections_accepted + other.connections_accepted,
            connections_active: self.connections_active + other.connections_active,
            connections_handled: self.connections_handled + other.connections_handled,
            connections_reading: self.connections_reading + other.connections_reading,
            connections_waiting: self.connections_waiting + other.connections_waiting,
            connections_writing: self.connections_writing + other.connections_writing,
            total_requests: self.total_requests + other.total_requests,
            streams: match (self.streams, other.streams) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            },
        }
    }
}

impl std::ops::Add for Streams {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            handled: self.handled + other.handled,
            active: self.active + other.active,
        }
    }
}

/// All counters at about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// See [`names::CONNECTIONS_ACCEPTED`].
    pub connections_accepted: u64,
    /// See [`names::CONNECTIONS_ACTIVE`].
    pub connections_active: u64,
    /// See [`names::CONNECTIONS_HANDLED`].
    pub connections_handled: u64,
    /// See [`names::CONNECTIONS_READING`].
    pub connections_reading: u64,
    /// See [`names::CONNECTIONS_WAITING`].
    pub connections_waiting: u64,
    /// See [`names::CONNECTIONS_WRITING`].
    pub connections_writing: u64,
    /// See [`names::TOTAL_REQUESTS`].
    pub total_requests: u64,
    /// How many of the connections are streams, where there are listeners for them.
    pub streams: Option<Streams>,
}

/// The streams among connections: TCP, TLS, and sessions of UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Those that came.
    pub accepted: u64,
    /// Those that were served.
    pub handled: u64,
    /// Those that are open.
    pub active: u64,
}

impl Snapshot {
    /// Returns every counter with its name.
    pub fn fields(&self) -> [(&'static str, u64); 7] {
        [
            (names::CONNECTIONS_ACCEPTED, self.connections_accepted),
            (names::CONNECTIONS_ACTIVE, self.connections_active),
            (names::CONNECTIONS_HANDLED, self.connections_handled),
            (names::CONNECTIONS_READING, self.connections_reading),
            (names::CONNECTIONS_WAITING, self.connections_waiting),
            (names::CONNECTIONS_WRITING, self.connections_writing),
            (names::TOTAL_REQUESTS, self.total_requests),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_connection_counts_from_open_to_drop() {
        let counters = Counters::new(2);
        let first = counters.core(0).connection();
        let second = counters.core(1).connection();
        first.request();
        second.set(Activity::Waiting);
        counters.core(5).turned_away();
        let fields = counters.snapshot().fields();
        let expected = [3, 2, 2, 0, 1, 1, 1];
        assert_eq!(fields.map(|(_, value)| value), expected, "{fields:?}");
        drop((first, second));
        let after = counters.snapshot();
        assert_eq!((after.connections_active, after.connections_accepted), (0, 3));
    }

    #[test]
    fn cores_count_side_by_side() {
        let counters = Counters::new(4);
        std::thread::scope(|scope| {
            for index in 0..4 {
                let core = counters.core(index);
                scope.spawn(move || (0..1000).for_each(|_| core.connection().request()));
            }
        });
        let total = counters.snapshot();
        assert_eq!((total.total_requests, total.connections_active), (4000, 0));
    }

    proptest! {
        /// However connections wander, the gauges add up to what is open.
        #[test]
        fn gauges_add_up(steps in proptest::collection::vec((0..4usize, 0..4usize), 0..60)) {
            let counters = Counters::new(3);
            let mut open: Vec<OpenConnection> = Vec::new();
            for (step, pick) in steps {
                let count = open.len();
                match (step, count) {
                    (0, _) | (_, 0) => open.push(counters.core(pick).connection()),
                    (1, _) => drop(open.swap_remove(pick % count)),
                    (2, _) => open[pick % count].request(),
                    _ => open[pick % count].set(Activity::Waiting),
                }
            }
            let now = counters.snapshot();
            prop_assert_eq!(now.connections_active, open.len() as u64);
            let waiting = open.iter().filter(|it| it.activity.get() == Activity::Waiting).count();
            prop_assert_eq!(now.connections_waiting, waiting as u64);
        }
    }
}
