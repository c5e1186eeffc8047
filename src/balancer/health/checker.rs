//! The task that probes upstreams and tells of addresses that turn over. It runs off the proxy
//! cores; they tell it through a channel.
//!
//! Invariants:
//! - an upstream is probed by what the newest of its balancers says, as long as one lives;
//! - an address is probed once at a time, and of an upstream no more at once than it allows;
//! - a change that leaves the probe as it was leaves its rhythm.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use uuid::Uuid;

use super::checks::Probe;
use super::kept::{HealthFile, Keeper};
use super::monitor::{HealthChange, Why};
use super::probe;
use super::state::Outcome;
use crate::balancer::Balancer;
use crate::balancer::address::Address;
use crate::clock::Clock;

/// How often upstreams that have gone are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the task; clones tell the same one.
#[derive(Clone, Debug)]
pub struct Checker {
    messages: mpsc::UnboundedSender<Message>,
    keeper: Option<SharedKeeper>,
}

/// Asked where configs are compiled and names resolved, never on a proxy core.
type SharedKeeper = Arc<Mutex<Keeper>>;

#[derive(Debug)]
enum Message {
    Follow(Weak<Balancer>, Option<Arc<ClientConfig>>),
    Changed(HealthChange),
    Upstream(String, bool),
    Addresses(Uuid),
}

/// What [`Checker`]s tell.
pub struct CheckerTask {
    inbox: mpsc::UnboundedReceiver<Message>,
    clock: Clock,
    keeper: Option<SharedKeeper>,
    /// Those that are probed, or were; with a keeper all.
    upstreams: HashMap<Uuid, Followed>,
    rounds: JoinSet<()>,
}

/// The balancers of one upstream, oldest first, and how they are probed.
#[derive(Default)]
struct Followed {
    balancers: Vec<(Weak<Balancer>, Option<Arc<ClientConfig>>)>,
    running: Option<Running>,
}

struct Running {
    probe: Arc<Probe>,
    tls: Option<Arc<ClientConfig>>,
    balancer: watch::Sender<Weak<Balancer>>,
    task: AbortHandle,
}

/// Makes a checker and the task that it tells. With a file, what was known of addresses is taken from
/// there, and where it says so what is known when the task is stopped is kept there.
pub fn checker(clock: Clock, kept: Option<HealthFile>) -> (Checker, CheckerTask) {
    let (messages, inbox) = mpsc::unbounded_channel();
    let (upstreams, rounds) = (HashMap::new(), JoinSet::new());
    let keeper = kept.map(|file| Arc::new(Mutex::new(Keeper::open(file))));
    let checker = Checker { messages, keeper: keeper.clone() };
    (checker, CheckerTask { inbox, clock, keeper, upstreams, rounds })
}

impl Checker {
    /// Returns a checker that checks nothing, for a runtime that is compiled and not served.
    pub fn nowhere() -> Self {
        Self { messages: mpsc::unbounded_channel().0, keeper: None }
    }

    /// Probes the addresses of a balancer as it says, as long as it lives; over TLS by `tls`. What was
    /// known of them before this process is known to it on return, before there is traffic.
    pub fn follow(&self, balancer: &Arc<Balancer>, tls: Option<Arc<ClientConfig>>) {
        balancer.monitor.tell(self);
        if let Some(keeper) = &self.keeper {
            lock(keeper).tell(balancer);
        }
        self.send(Message::Follow(Arc::downgrade(balancer), tls));
    }

    /// Tells that an address turned over.
    pub(super) fn tell(&self, change: HealthChange) {
        self.send(Message::Changed(change));
    }

    /// Tells that the named upstream has enough available again, or no longer.
    pub(super) fn tell_of_upstream(&self, name: String, admits: bool) {
        self.send(Message::Upstream(name, admits));
    }

    /// Tells that an upstream has other addresses now.
    pub(super) fn tell_of_addresses(&self, upstream: Uuid) {
        self.send(Message::Addresses(upstream));
    }

    fn send(&self, message: Message) {
        // Without a task nobody checks, which is as it should be.
        let _ = self.messages.send(message);
    }
}

impl CheckerTask {
    /// Probes until it is told to stop.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                message = self.inbox.recv() => match message {
                    Some(message) => self.receive(message),
                    None => break,
                },
                _ = sweeps.tick() => self.sweep(),
                Some(ended) = self.rounds.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "probing an upstream broke off");
                    }
                }
            }
        }
        // What was told before the end is not lost.
        while let Ok(message) = self.inbox.try_recv() {
            self.receive(message);
        }
        if let Some(keeper) = &self.keeper {
            lock(keeper).end(self.upstreams.values().filter_map(Followed::newest));
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Follow(balancer, tls) => self.follow(balancer, tls),
            Message::Changed(change) => log(&change),
            Message::Addresses(upstream) => {
                let newest = self.upstreams.get(&upstream).and_then(Followed::newest);
                if let (Some(keeper), Some(balancer)) = (&self.keeper, newest) {
                    lock(keeper).tell(&balancer);
                }
            }
            Message::Upstream(upstream, true) => {
                tracing::warn!(upstream, "enough of the upstream is available again");
            }
            Message::Upstream(upstream, false) => {
                tracing::warn!(
                    upstream,
                    "no more of the upstream is available than its threshold: it gets no traffic"
                );
            }
        }
    }

    fn follow(&mut self, followed: Weak<Balancer>, tls: Option<Arc<ClientConfig>>) {
        let Some(balancer) = followed.upgrade() else { return };
        if !balancer.checks.is_on {
            // What nobody checks any more is available.
            for member in balancer.addresses() {
                balancer.set(&member.address, true, Why::Unchecked);
            }
        }
        let id = balancer.id;
        let is_kept = self.keeper.is_some();
        let is_followed = balancer.checks.probe.is_some() || self.upstreams.contains_key(&id);
        if is_kept || is_followed {
            self.upstreams.entry(id).or_default().balancers.push((followed, tls));
            self.settle(id);
        }
    }

    /// Forgets upstreams that have gone.
    fn sweep(&mut self) {
        let ids: Vec<_> = self.upstreams.keys().copied().collect();
        ids.into_iter().for_each(|id| self.settle(id));
        if let Some(keeper) = &self.keeper {
            lock(keeper).forget();
        }
    }

    /// Sees to it that an upstream is probed as its newest balancer says.
    fn settle(&mut self, id: Uuid) {
        let Some(followed) = self.upstreams.get_mut(&id) else { return };
        followed.balancers.retain(|(balancer, _)| balancer.strong_count() > 0);
        let newest = followed.balancers.last();
        let newest = newest.and_then(|(balancer, tls)| Some((balancer.upgrade()?, tls)));
        let probe = newest.as_ref().and_then(|(balancer, _)| balancer.checks.probe.as_ref());
        let (Some((balancer, tls)), Some(probe)) = (&newest, probe) else {
            if let Some(running) = followed.running.take() {
                running.task.abort();
            }
            if newest.is_none() {
                self.upstreams.remove(&id);
            }
            return;
        };
        match &followed.running {
            Some(running) if running.is_of(probe, tls.as_ref()) => {
                let balancer = Arc::downgrade(balancer);
                running.balancer.send_if_modified(|old| {
                    let is_other = !old.ptr_eq(&balancer);
                    *old = balancer;
                    is_other
                });
            }
            old => {
                if let Some(old) = old {
                    old.task.abort();
                }
                let (sender, balancer) = watch::channel(Arc::downgrade(balancer));
                let (probe, tls) = (Arc::new(probe.clone()), Option::clone(tls));
                let rounds = Rounds::new(probe.clone(), tls.clone(), balancer, &self.clock);
                let task = self.rounds.spawn(rounds.run());
                followed.running = Some(Running { probe, tls, balancer: sender, task });
            }
        }
    }
}

impl Followed {
    fn newest(&self) -> Option<Arc<Balancer>> {
        self.balancers.iter().rev().find_map(|(balancer, _)| balancer.upgrade())
    }
}

impl Running {
    fn is_of(&self, probe: &Probe, tls: Option<&Arc<ClientConfig>>) -> bool {
        let tls = match (&self.tls, tls) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        tls && *self.probe == *probe && !self.task.is_finished()
    }
}

fn lock(keeper: &SharedKeeper) -> MutexGuard<'_, Keeper> {
    // What is told of an address is told whole, so a poisoned lock is still good.
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log(change: &HealthChange) {
    let HealthChange { upstream, target, address, turn, why } = change;
    let (from, to) = (turn.from.as_str(), turn.to.as_str());
    tracing::warn!(upstream, %target, %address, from, to, %why, "the health of an address changed");
}

/// The probes of one upstream.
struct Rounds {
    probe: Arc<Probe>,
    tls: Option<Arc<ClientConfig>>,
    balancer: watch::Receiver<Weak<Balancer>>,
    /// When those that are up are due, and those that are down.
    due: [Option<Instant>; 2],
    /// Those that are due and wait for room.
    waiting: VecDeque<Arc<Address>>,
    /// The numbers of those that wait or are probed.
    busy: HashSet<u64>,
}

impl Rounds {
    fn new(
        probe: Arc<Probe>,
        tls: Option<Arc<ClientConfig>>,
        balancer: watch::Receiver<Weak<Balancer>>,
        clock: &Clock,
    ) -> Self {
        let now = Instant::now();
        // Upstreams that are followed at the same moment are not probed at the same moment.
        let part = clock.random() as f64 / u64::MAX as f64;
        let due = [probe.healthy_interval, probe.unhealthy_interval];
        let due = due.map(|interval| interval.map(|interval| now + interval.mul_f64(part)));
        Self { probe, tls, balancer, due, waiting: VecDeque::new(), busy: HashSet::new() }
    }

    async fn run(mut self) {
        let (probing, tls) = (self.probe.clone(), self.tls.clone());
        let one = async |address: Arc<Address>| {
            let outcome = probe::run(&probing, tls.as_ref(), &address).await;
            (address, outcome)
        };
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.probe.concurrency
                && let Some(address) = self.waiting.pop_front()
            {
                running.push(one(address));
            }
            let Some(next) = self.due.iter().flatten().min().copied() else { return };
            tokio::select! {
                () = sleep_until(next) => self.begin(Instant::now()),
                Some((address, outcome)) = running.next(), if !running.is_empty() => {
                    self.end(&address, outcome);
                }
            }
        }
    }

    /// Begins the rounds that are due.
    fn begin(&mut self, now: Instant) {
        let Some(balancer) = self.balancer.borrow().upgrade() else {
            // Nobody is there to be probed; that is seen to in a moment.
            self.due = self.due.map(|due| due.map(|_| now + SWEEP_INTERVAL));
            return;
        };
        let intervals = [self.probe.healthy_interval, self.probe.unhealthy_interval];
        let mut is_due = [false; 2];
        for ((due, interval), is_due) in self.due.iter_mut().zip(intervals).zip(&mut is_due) {
            if let (Some(due), Some(interval)) = (due, interval)
                && *due <= now
            {
                *is_due = true;
                // One that was late is not made up for.
                *due = if *due + interval > now { *due + interval } else { now + interval };
            }
        }
        let [healthy, unhealthy] = is_due;
        for member in balancer.generation().members().iter().filter(|it| it.weight > 0) {
            let address = &member.address;
            let is_due = if address.health.available() { healthy } else { unhealthy };
            if is_due && self.busy.insert(address.number) {
                self.waiting.push_back(address.clone());
            }
        }
    }

    fn end(&mut self, address: &Address, outcome: Outcome) {
        self.busy.remove(&address.number);
        if let Some(balancer) = self.balancer.borrow().upgrade() {
            balancer.report_probe(address, outcome);
        }
    }
}
