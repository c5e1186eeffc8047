//! One rollout: which wave has a head, who is waited for, and what comes next. Pure.
//!
//! Invariants:
//! - a wave is over only when all data planes that were seen in it serve the head, and have done
//!   so for the quiet time;
//! - a data plane that refuses the head, or takes too long, ends the rollout for everyone;
//! - only decisions move it, so that all control planes of a database see the same.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::decision::{Decision, Peer, Plan, Position, Wave};
use super::state::Made;
use crate::domain::hash::ConfigHash;
use crate::fleet::Refused;

/// The way of heads through a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// The plan.
    pub plan: Plan,
    /// Whose plan it is.
    pub made: Made,
    /// What everyone has that no wave has reached.
    pub good: Position,
    /// The head that is on its way.
    pub active: Option<Active>,
    /// Why the last head did not get through, until there is a newer one.
    pub stopped: Option<Stop>,
}

/// A head on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// The head.
    pub target: Position,
    /// The wave that has it, counted from 0; after those of the plan comes everyone.
    pub wave: usize,
    /// Who is waited for in this wave.
    pub joined: BTreeSet<Uuid>,
    /// Who of them serves the head.
    pub applied: BTreeSet<Uuid>,
    /// Who had a place in a wave that is a number, this one or an earlier one.
    pub counted: BTreeSet<Uuid>,
    /// The number of the decision that began it.
    pub begun: u64,
    /// When the wave began.
    pub since: Made,
}

/// A head that did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The head.
    pub target: Position,
    /// Which data plane did not do as it should.
    pub node_id: Uuid,
    /// What it did.
    pub why: String,
    /// When that was seen.
    pub made: Made,
}

/// A data plane of this control plane, as far as a rollout looks at it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Who it is.
    pub peer: Peer,
    /// The config that it serves.
    pub applied: Option<ConfigHash>,
    /// The config that it refused last, and why.
    pub refused: Option<Refused>,
    /// Whether something else than the rollout decides what it gets.
    pub is_pinned: bool,
}

impl Rollout {
    pub(super) fn new(plan: Plan, good: Position, made: Made) -> Self {
        Self { plan, made, good, active: None, stopped: None }
    }

    pub(super) fn apply(&mut self, decision: Decision, made: Made) {
        match (decision, &mut self.active) {
            (Decision::Began { target }, _) => {
                self.stopped = None;
                self.active = Some(Active::new(target, made));
            }
            (Decision::Reported { joined, applied }, Some(active)) => {
                active.report(self.plan.waves.get(active.wave), joined, applied);
            }
            (Decision::Advanced, Some(active)) => {
                active.wave += 1;
                active.joined.clear();
                active.applied.clear();
                active.since = made;
            }
            (Decision::Finished, Some(active)) => {
                self.good = active.target;
                self.active = None;
            }
            (Decision::Stopped { node_id, why }, Some(active)) => {
                self.stopped = Some(Stop { target: active.target, node_id, why, made });
                self.active = None;
            }
            _ => {}
        }
    }

    /// Returns what a data plane gets.
    pub(super) fn position_of(&self, peer: &Peer) -> Position {
        match &self.active {
            Some(active) if self.has_reached(active, peer) => active.target,
            _ => self.good,
        }
    }

    /// Returns whether a data plane is in this wave or an earlier one.
    fn has_reached(&self, active: &Active, peer: &Peer) -> bool {
        let waves = self.plan.waves.get(..=active.wave);
        active.counted.contains(&peer.id)
            || waves.is_none_or(|waves| waves.iter().any(|wave| wave.names(peer)))
    }

    pub(super) fn announced(&self) -> Position {
        self.active.as_ref().map_or(self.good, |active| active.target)
    }

    pub(super) fn held(&self) -> impl Iterator<Item = Position> + '_ {
        self.active.iter().map(|active| active.target).chain([self.good])
    }

    /// Returns the last head that was tried.
    fn tried(&self) -> Position {
        let stopped = self.stopped.as_ref().map(|stop| stop.target);
        self.active.as_ref().map(|active| active.target).or(stopped).unwrap_or(self.good)
    }
}

impl Wave {
    /// Returns whether a data plane is in this wave by what it is.
    fn names(&self, peer: &Peer) -> bool {
        match self {
            Self::Count(_) => false,
            Self::Labels(labels) => super::decision::Selector::Labels(labels.clone()).matches(peer),
        }
    }
}

impl Active {
    fn new(target: Position, since: Made) -> Self {
        let (joined, applied, counted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { target, wave: 0, joined, applied, counted, begun: since.id, since }
    }

    fn report(&mut self, wave: Option<&Wave>, joined: Vec<Uuid>, applied: Vec<Uuid>) {
        for id in joined {
            if let Some(Wave::Count(count)) = wave {
                // Two control planes may have offered their data planes at the same time.
                if self.joined.len() >= *count as usize || !self.counted.insert(id) {
                    continue;
                }
            }
            self.joined.insert(id);
        }
        self.applied.extend(applied.into_iter().filter(|id| self.joined.contains(id)));
    }

    fn is_applied(&self) -> bool {
        self.joined.is_subset(&self.applied)
    }
}

/// What one control plane remembers between two looks at a rollout.
#[derive(Debug, Default)]
pub struct Conductor {
    /// The wave that the times are of, by the decision that began it.
    wave: Option<u64>,
    began: Option<Instant>,
    quiet: Option<Instant>,
}

impl Conductor {
    /// Returns the decision that is due. `seen` are the data planes that are connected here.
    pub fn step(
        &mut self,
        rollout: &Rollout,
        is_frozen: bool,
        newest: Position,
        seen: &[Seen],
        now: Instant,
    ) -> Option<Decision> {
        if let Some(active) = &rollout.active
            && let Some(stop) = self.stop(rollout, active, seen, now)
        {
            return Some(stop);
        }
        if is_frozen {
            self.quiet = None;
            return None;
        }
        if newest.seq > rollout.tried().seq {
            return Some(Decision::Began { target: newest });
        }
        self.go_on(rollout, rollout.active.as_ref()?, seen, now)
    }

    /// Ends a rollout that a data plane refuses or does not take.
    fn stop(
        &mut self,
        rollout: &Rollout,
        active: &Active,
        seen: &[Seen],
        now: Instant,
    ) -> Option<Decision> {
        if self.wave != Some(active.since.id) {
            *self = Self { wave: Some(active.since.id), began: Some(now), quiet: None };
        }
        let mine = |it: &&Seen| !it.is_pinned && rollout.has_reached(active, &it.peer);
        for it in seen.iter().filter(mine) {
            // What was refused before this rollout is tried once more.
            if let Some(refused) = &it.refused
                && refused.config_hash == active.target.config_hash
                && refused.revision >= active.begun
            {
                let why = format!("refused it: {}", refused.reason);
                return Some(Decision::Stopped { node_id: it.peer.id, why });
            }
        }
        let patience = Duration::from_secs(rollout.plan.timeout_seconds.into());
        let late = self.began.is_some_and(|began| now.duration_since(began) > patience);
        let node_id = *active.joined.difference(&active.applied).next().filter(|_| late)?;
        let why = format!("did not serve it within {} seconds", patience.as_secs());
        Some(Decision::Stopped { node_id, why })
    }

    fn go_on(
        &mut self,
        rollout: &Rollout,
        active: &Active,
        seen: &[Seen],
        now: Instant,
    ) -> Option<Decision> {
        if let Some(report) = report(rollout, active, seen) {
            self.quiet = None;
            return Some(report);
        }
        let is_last = active.wave >= rollout.plan.waves.len();
        // A wave that nobody is in waits for somebody; the last one need not.
        if !active.is_applied() || (active.joined.is_empty() && !is_last) {
            self.quiet = None;
            return None;
        }
        let quiet = *self.quiet.get_or_insert(now);
        let wanted = Duration::from_secs(rollout.plan.quiet_seconds.into());
        let is_over = now.duration_since(quiet) >= wanted;
        is_over.then_some(if is_last { Decision::Finished } else { Decision::Advanced })
    }
}

/// Tells of data planes of the wave that came or serve the head, if that is news.
fn report(rollout: &Rollout, active: &Active, seen: &[Seen]) -> Option<Decision> {
    let wave = rollout.plan.waves.get(active.wave);
    let free = match wave {
        Some(Wave::Count(count)) => (*count as usize).saturating_sub(active.joined.len()),
        _ => usize::MAX,
    };
    let is_in = |peer: &Peer| match wave {
        Some(Wave::Count(_)) => !rollout.has_reached(active, peer),
        Some(wave) => wave.names(peer),
        None => true,
    };
    let fresh =
        |it: &&Seen| !it.is_pinned && !active.joined.contains(&it.peer.id) && is_in(&it.peer);
    let joined: Vec<_> = seen.iter().filter(fresh).take(free).map(|it| it.peer.id).collect();
    let serves = |it: &&Seen| {
        it.applied == Some(active.target.config_hash)
            && !active.applied.contains(&it.peer.id)
            && active.joined.contains(&it.peer.id)
    };
    let applied: Vec<_> = seen.iter().filter(serves).map(|it| it.peer.id).collect();
    let is_news = !joined.is_empty() || !applied.is_empty();
    is_news.then_some(Decision::Reported { joined, applied })
}
