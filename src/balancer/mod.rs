//! Which address of an upstream gets a request, and which addresses a host name has
//! (behaviour: reference gateway-3, section E).
//!
//! Invariants:
//! - picking takes no lock and allocates nothing;
//! - over as many picks as the weights add up to, round-robin gives each target exactly its weight;
//! - what is known of an address (health, connections, latency) is kept by its identity: a change of
//!   other targets, of weights or of the config leaves it;
//! - names are resolved off the proxy cores, once at a time each; a failure leaves the old addresses.
//!
//! To add an algorithm: a variant of [`Algorithm`] and of the choice of a [`Generation`].

pub mod address;
pub mod budget;
pub mod dns;
mod generation;
pub mod hash;
pub mod health;
pub mod key;
mod lots;
mod peer;
mod slots;
mod slow_start;
pub mod target;
mod tried;
mod wheel;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::kinds::target::Target;
use crate::domain::kinds::upstream::Upstream;
use address::{Address, Identity, Member, Moment};
use budget::RetryBudget;
use dns::Records;
pub use generation::{Ask, Generation};
use health::Monitor;
use health::checks::Checks;
use key::Hashing;
pub use peer::Peer;
use slow_start::SlowStart;
use target::Endpoint;
pub use tried::Tried;

/// How many points a ring has when its upstream does not say.
const SLOTS: u32 = 10_000;

/// How an address is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Each in turn, by weight.
    RoundRobin,
    /// The same one for the same key.
    Hashing {
        /// How finely keys are told apart.
        slots: usize,
    },
    /// Who has the fewest requests under way, by weight.
    LeastConnections,
    /// Who answered fastest of late, by weight.
    Latency,
}

/// The balancer of one upstream. A change of the upstream or its targets makes another one, which
/// takes over what this one knows; a change of addresses changes its generation.
#[derive(Debug)]
pub struct Balancer {
    /// The upstream.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// How many retries it may get.
    pub retries: Arc<RetryBudget>,
    /// What is checked.
    pub checks: Checks,
    monitor: Monitor,
    algorithm: Algorithm,
    hashing: Hashing,
    uses_srv_name: bool,
    slow_start: SlowStart,
    generation: ArcSwap<Generation>,
    position: AtomicU64,
    /// Read and written where configs are compiled and names resolved, never on a proxy core.
    known: Mutex<Known>,
    is_resolved: watch::Sender<bool>,
}

/// What generations are made of.
#[derive(Debug)]
struct Known {
    targets: Vec<(Endpoint, u32)>,
    /// The addresses of the names among the targets; none until the first answer, empty when there
    /// is no address.
    names: BTreeMap<Arc<str>, Option<Records>>,
}

impl Balancer {
    /// Builds the balancer of an upstream; `old` is the one that it replaces.
    pub fn build(upstream: &Upstream, targets: &[Target], old: Option<&Self>) -> Self {
        let targets = target::endpoints(targets);
        let hosts = targets.iter().map(|(target, _)| target);
        let hosts = hosts.filter(|it| it.ip().is_none()).map(|it| it.host.clone());
        let names = {
            let old = old.map(|old| old.known());
            let known = |name: &Arc<str>| old.as_ref()?.names.get(name)?.clone();
            hosts.map(|host| (host.clone(), known(&host))).collect()
        };
        let slots = upstream.slots.unwrap_or(SLOTS) as usize;
        let algorithm = match upstream.algorithm.as_deref() {
            Some("consistent-hashing") => Algorithm::Hashing { slots },
            Some("least-connections") => Algorithm::LeastConnections,
            Some("latency") => Algorithm::Latency,
            _ => Algorithm::RoundRobin,
        };
        let before = old.map(Self::generation);
        let known = Known { targets, names };
        let generation = known.generation(algorithm, before.as_deref());
        let budget = || Arc::new(RetryBudget::new());
        Self {
            id: upstream.id,
            name: upstream.name.clone(),
            retries: old.map_or_else(budget, |old| old.retries.clone()),
            checks: Checks::of(upstream),
            monitor: Monitor::following(old.map(|old| &old.monitor)),
            algorithm,
            hashing: Hashing::of(upstream),
            uses_srv_name: upstream.use_srv_name.unwrap_or(false),
            slow_start: SlowStart::default(),
            generation: ArcSwap::from_pointee(generation),
            position: AtomicU64::new(old.map_or(0, |old| old.position.load(Ordering::Relaxed))),
            is_resolved: watch::Sender::new(known.is_resolved()),
            known: Mutex::new(known),
        }
    }

    /// Sets how long an address that comes, or comes back, takes to its whole share.
    #[must_use]
    pub fn with_slow_start(mut self, within: Duration) -> Self {
        self.slow_start = SlowStart::within(within);
        self
    }

    /// Returns the next address: none when all were tried or are unavailable, or there are none.
    pub fn pick(&self, ask: &Ask<'_>) -> Option<Arc<Address>> {
        if !(self.admits() || matches!(self.algorithm, Algorithm::Hashing { .. })) {
            return None;
        }
        self.generation.load().pick(ask, &self.position, self.slow_start).cloned()
    }

    /// Returns the present members.
    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Returns every address with its weight.
    pub fn addresses(&self) -> Vec<Member> {
        self.generation.load().members().to_vec()
    }

    /// Returns how an address is chosen.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns what is hashed of a request.
    pub fn hashing(&self) -> &Hashing {
        &self.hashing
    }

    /// Returns host and port as a Host header has them, without the port if it is `usual`.
    pub fn authority<'a>(&self, address: &'a Address, usual: u16) -> &'a str {
        address.authority(self.uses_srv_name, usual)
    }

    /// Returns the names whose addresses it wants to be told.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.known().names.keys().cloned().collect()
    }

    /// Returns whether a name was not asked for to the end yet.
    pub fn is_pending(&self) -> bool {
        !*self.is_resolved.borrow()
    }

    /// Waits until every name was asked for.
    pub async fn resolved(&self) {
        // It cannot fail: the sender is here.
        let _ = self.is_resolved.subscribe().wait_for(|done| *done).await;
    }

    /// Takes over what a name stands for now; nothing stands for no address.
    pub fn publish(&self, name: &str, records: Records) {
        let mut known = self.known();
        let Some(place) = known.names.get_mut(name) else { return };
        let is_same = place.as_ref().is_some_and(|old| *old == records);
        *place = Some(records);
        if !is_same {
            let generation = known.generation(self.algorithm, Some(&self.generation.load()));
            self.generation.store(Arc::new(generation));
            self.monitor.changed();
            self.monitor.tell_of_addresses(self.id);
        }
        if known.is_resolved() && self.is_pending() {
            self.is_resolved.send_replace(true);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_resolved(&self) -> bool {
        self.names.values().all(Option::is_some)
    }

    /// Makes the generation of what is known; addresses that `old` has are taken over.
    fn generation(&self, algorithm: Algorithm, old: Option<&Generation>) -> Generation {
        let mut weights: BTreeMap<Identity, u32> = BTreeMap::new();
        for (target, weight) in &self.targets {
            for (identity, weight) in self.identities(target, *weight) {
                let sum = weights.entry(identity).or_default();
                *sum = sum.saturating_add(weight);
            }
        }
        let kept: HashMap<Identity, &Arc<Address>> = old
            .into_iter()
            .flat_map(Generation::members)
            .map(|member| (member.address.identity(), &member.address))
            .collect();
        // A new address is believed to be as fast as the others.
        let now = Moment::now();
        let sum = kept.values().fold(0.0, |sum, address| sum + address.latency_ms(now));
        let mean = sum / kept.len().max(1) as f64;
        let members = weights.into_iter().map(|(identity, weight)| {
            let address = match kept.get(&identity) {
                Some(address) => Arc::clone(address),
                None => Arc::new(Address::new(identity, mean)),
            };
            // Who comes alone begins slowly; those of the first moment share from the start.
            if !kept.is_empty() && !kept.contains_key(&address.identity()) {
                address.begin(now);
            }
            Member { address, weight }
        });
        let targets = self.targets.iter().map(|(target, _)| target.clone()).collect();
        Generation::new(targets, members.collect(), algorithm, old)
    }

    fn identities(&self, target: &Endpoint, weight: u32) -> Vec<(Identity, u32)> {
        let identity = |host: &Arc<str>, ip, port| {
            let (target, host) = (target.clone(), host.clone());
            Identity { target, host, ip, port }
        };
        if let Some(ip) = target.ip() {
            return vec![(identity(&target.host, ip, target.port), weight)];
        }
        let records = self.names.get(&target.host).and_then(Option::as_ref);
        let records = records.into_iter().flat_map(|records| records.iter()).map(|record| {
            let host = record.srv_name.as_ref().unwrap_or(&target.host);
            let port = record.port.unwrap_or(target.port);
            // The weights of SRV records stand for that of the target, unless it is to be left out.
            let weight = if weight == 0 { 0 } else { record.weight.unwrap_or(weight) };
            (identity(host, record.ip, port), weight)
        });
        records.collect()
    }
}

#[cfg(test)]
mod tests;
