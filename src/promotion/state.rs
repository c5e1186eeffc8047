//! What is in force: the sum of all decisions, and what follows from it for one data plane. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::decision::{Decision, Peer, Position, Selector};
use super::quarantine::Ward;
use super::rollout::Rollout;
use crate::log::promotions::PromotionRow;

/// Who made a decision, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The number of the decision.
    pub id: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// Why, if somebody said so.
    pub reason: Option<String>,
}

/// Nothing newer than this is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// The head that data planes receive.
    pub position: Position,
    /// Whose decision that was.
    pub made: Made,
}

/// Some data planes get one config, whatever the head is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Who.
    pub who: Selector,
    /// What they get.
    pub position: Position,
    /// Whose decision that was.
    pub made: Made,
}

/// What holds a data plane where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The head is frozen.
    Freeze,
    /// A pin, by its number.
    Pin(u64),
    /// A rollout has not come to it, or does not go on.
    Rollout,
    /// Another data plane crashed on what it would get.
    Quarantine,
}

/// What a data plane is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// The newest head, whichever that is.
    Newest,
    /// This one.
    Held(Position, Hold),
}

/// Everything that was decided and is in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The number of the last decision.
    pub tip: u64,
    /// The last decision by which a data plane may have to go back; heads are signed with it.
    pub revision: u64,
    /// Whether the head is frozen.
    pub frozen: Option<Freeze>,
    /// The pins, by number.
    pub pins: BTreeMap<u64, Pin>,
    /// How heads are rolled out; none is at once.
    pub rollout: Option<Rollout>,
    /// What data planes crashed on.
    pub quarantine: Ward,
}

impl State {
    /// Takes in the next decision. One that cannot be read changes nothing but the numbers: a newer
    /// control plane made it.
    pub fn fold(&mut self, row: &PromotionRow) {
        let decision = serde_json::from_str(&row.decision).unwrap_or_else(|error| {
            tracing::error!(id = row.id, %error, "a decision on promotion cannot be read");
            Decision::Unknown
        });
        self.tip = row.id;
        if decision.revises() {
            self.revision = row.id;
        }
        let made =
            Made { id: row.id, at: row.at, actor: row.actor.clone(), reason: row.reason.clone() };
        self.apply(decision, made);
    }

    fn apply(&mut self, decision: Decision, made: Made) {
        match decision {
            Decision::Frozen { at: position } => self.frozen = Some(Freeze { position, made }),
            Decision::Unfrozen => self.frozen = None,
            Decision::Pinned { who, to: position } => {
                self.pins.retain(|_, pin| pin.who != who);
                self.pins.insert(made.id, Pin { who, position, made });
            }
            Decision::Unpinned { pin } => drop(self.pins.remove(&pin)),
            Decision::Planned { plan, good } => {
                self.rollout = plan.map(|plan| Rollout::new(plan, good, made));
            }
            decision @ (Decision::Quarantined { .. } | Decision::Released { .. }) => {
                self.quarantine.apply(decision, made);
            }
            Decision::Restated { .. } | Decision::Unknown => {}
            of_rollout => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.apply(of_rollout, made);
                }
            }
        }
    }

    /// Returns what a data plane is to get: what it is pinned to, else what the rollout has for it,
    /// else the frozen head, else the newest.
    pub fn assign(&self, peer: &Peer) -> Assignment {
        if let Some(pin) = self.pin_of(peer) {
            return Assignment::Held(pin.position, Hold::Pin(pin.made.id));
        }
        if let Some(rollout) = &self.rollout {
            return Assignment::Held(rollout.position_of(peer), Hold::Rollout);
        }
        match &self.frozen {
            Some(frozen) => Assignment::Held(frozen.position, Hold::Freeze),
            None => Assignment::Newest,
        }
    }

    /// Returns the pin that counts for a data plane: the one that describes it most closely, and of
    /// several such the newest.
    pub fn pin_of(&self, peer: &Peer) -> Option<&Pin> {
        let pins = self.pins.values().filter(|pin| pin.who.matches(peer));
        pins.max_by_key(|pin| (pin.who.closeness(), pin.made.id))
    }

    /// Returns the newest head that is announced to anyone who is not pinned.
    pub fn announced(&self, newest: Position) -> Position {
        match (&self.rollout, &self.frozen) {
            (Some(rollout), _) => rollout.announced(),
            (None, Some(frozen)) => frozen.position,
            (None, None) => newest,
        }
    }

    /// Returns every position whose config must stay at hand while this is in force. Whoever
    /// removes stored snapshots or events has to keep what is needed to rebuild these.
    pub fn held(&self) -> Vec<Position> {
        let frozen = self.frozen.iter().map(|frozen| frozen.position);
        let pinned = self.pins.values().map(|pin| pin.position);
        let rolled = self.rollout.iter().flat_map(Rollout::held);
        let instead = self.quarantine.all().iter().filter_map(|it| it.instead);
        let mut held: Vec<_> = frozen.chain(pinned).chain(rolled).chain(instead).collect();
        held.sort_by_key(|position| position.seq);
        held.dedup();
        held
    }
}
