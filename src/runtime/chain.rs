//! Plugin chains: which instance of each plugin runs for a route, and for which consumer
//! (precedence of scopes: reference gateway-4, section F.1).

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::plugins::{Phases, Plugin};

/// One plugin of a chain: its instance for everybody, and those for single consumers.
#[derive(Clone, Default)]
pub struct Slot {
    anyone: Option<Arc<dyn Plugin>>,
    consumers: HashMap<Uuid, Arc<dyn Plugin>>,
}

impl Slot {
    /// Returns the instance that runs for a consumer, or for who is not known.
    pub fn select(&self, consumer: Option<Uuid>) -> Option<&Arc<dyn Plugin>> {
        let own = consumer.filter(|_| !self.consumers.is_empty());
        own.and_then(|id| self.consumers.get(&id)).or(self.anyone.as_ref())
    }

    fn instances(&self) -> impl Iterator<Item = &Arc<dyn Plugin>> {
        self.anyone.iter().chain(self.consumers.values())
    }
}

/// The plugins of a route in order of priority.
#[derive(Clone, Default)]
pub struct Chain {
    slots: Arc<[Slot]>,
    phases: Phases,
}

impl Chain {
    /// Returns the plugins, unless none takes part in `phase`.
    pub fn in_phase(&self, phase: Phases) -> &[Slot] {
        if self.phases.has(phase) { &self.slots } else { &[] }
    }

    /// Returns whether a plugin takes part in one of the phases.
    pub fn has(&self, phases: Phases) -> bool {
        self.phases.has(phases)
    }
}

/// One plugin instance and where it applies.
#[derive(Clone)]
pub(super) struct Scoped {
    pub(super) id: Uuid,
    pub(super) priority: i32,
    pub(super) name: &'static str,
    pub(super) route: Option<Uuid>,
    pub(super) service: Option<Uuid>,
    pub(super) consumer: Option<Uuid>,
    pub(super) instance: Arc<dyn Plugin>,
    /// Which of both it takes part in: requests, streams.
    pub(super) on: On,
}

/// What a plugin takes part in, by its protocols.
#[derive(Clone, Copy)]
pub(super) struct On {
    pub(super) requests: bool,
    pub(super) streams: bool,
}

impl Scoped {
    /// How specific its scope is: route and service count more together than a consumer alone.
    fn rank(&self) -> u8 {
        let (consumer, route, service) =
            (self.consumer.is_some(), self.route.is_some(), self.service.is_some());
        match (consumer, route, service) {
            (true, true, true) => 7,
            (true, true, false) => 6,
            (true, false, true) => 5,
            (false, true, true) => 4,
            (true, false, false) => 3,
            (false, true, false) => 2,
            (false, false, true) => 1,
            (false, false, false) => 0,
        }
    }
}

/// Builds the chain of the instances that apply to a route, sorted by priority, then name.
pub(super) fn build(plugins: &[&Scoped]) -> Chain {
    let mut slots = Vec::new();
    for same_name in plugins.chunk_by(|a, b| a.name == b.name) {
        // The most specific instance for everybody, and for each consumer.
        let mut best: HashMap<Option<Uuid>, &Scoped> = HashMap::new();
        for &plugin in same_name {
            let known = best.entry(plugin.consumer).or_insert(plugin);
            if plugin.rank() > known.rank() {
                *known = plugin;
            }
        }
        let anyone = best.remove(&None);
        let outranks = |own: &Scoped| anyone.is_none_or(|anyone| own.rank() > anyone.rank());
        let consumers = best.iter().filter(|(_, own)| outranks(own));
        let consumers: HashMap<Uuid, _> = consumers
            .filter_map(|(consumer, own)| Some(((*consumer)?, own.instance.clone())))
            .collect();
        if anyone.is_some() || !consumers.is_empty() {
            slots.push(Slot { anyone: anyone.map(|plugin| plugin.instance.clone()), consumers });
        }
    }
    let all = slots.iter().flat_map(Slot::instances);
    let phases = all.fold(Phases::NONE, |phases, plugin| phases.with(plugin.phases()));
    Chain { slots: slots.into(), phases }
}
