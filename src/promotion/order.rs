//! What operators may order, and what of it is refused. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::decision::{Decision, Plan, Position, Selector, Wave};
use super::state::State;
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;

/// The most waves that a plan has.
const WAVES_MAX: usize = 32;

/// The most pins at a time; the config of each is held in memory.
const PINS_MAX: usize = 64;

/// Why an order is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would be a rollback under another name.
    #[error(
        "{asked} is older than what data planes receive ({announced}): a freeze announces nothing \
         newer, it does not go back; roll back to {asked} first, then freeze"
    )]
    FreezeBack {
        /// What was asked for.
        asked: Seq,
        /// What is announced.
        announced: Seq,
    },
    /// It would announce something by the way.
    #[error("{asked} is newer than what data planes receive ({announced}): unfreeze first")]
    FreezeAhead {
        /// What was asked for.
        asked: Seq,
        /// What is announced.
        announced: Seq,
    },
    /// The config is not in quarantine.
    #[error("config {0} is not in quarantine")]
    NotQuarantined(ConfigHash),
    /// There is no such pin.
    #[error("there is no pin {0}")]
    NoPin(u64),
    /// There are as many pins as there may be.
    #[error("there are {PINS_MAX} pins already: remove one first")]
    TooManyPins,
    /// A selector that names everyone.
    #[error("at least one label is required: a pin of all data planes is a freeze")]
    NoLabel,
    /// A plan that cannot be followed.
    #[error("{0}")]
    Plan(String),
}

/// Freezes the head that data planes receive; nothing is decided if it is frozen.
pub fn freeze(
    state: &State,
    newest: Position,
    at: Option<Position>,
) -> Result<Option<Decision>, Refusal> {
    let announced = state.announced(newest);
    if let Some(asked) = at.map(|at| at.seq) {
        let announced = announced.seq;
        if asked < announced {
            return Err(Refusal::FreezeBack { asked, announced });
        }
        if asked > announced {
            return Err(Refusal::FreezeAhead { asked, announced });
        }
    }
    Ok(state.frozen.is_none().then_some(Decision::Frozen { at: announced }))
}

/// Announces new heads again; nothing is decided if nothing is frozen.
pub fn unfreeze(state: &State) -> Option<Decision> {
    state.frozen.as_ref().map(|_| Decision::Unfrozen)
}

/// Pins data planes to a config; nothing is decided if they are pinned to it.
pub fn pin(state: &State, who: Selector, to: Position) -> Result<Option<Decision>, Refusal> {
    if matches!(&who, Selector::Labels(labels) if labels.is_empty()) {
        return Err(Refusal::NoLabel);
    }
    let old = state.pins.values().find(|pin| pin.who == who);
    if old.is_none() && state.pins.len() >= PINS_MAX {
        return Err(Refusal::TooManyPins);
    }
    let is_there = old.is_some_and(|pin| pin.position == to);
    Ok((!is_there).then_some(Decision::Pinned { who, to }))
}

/// Removes a pin.
pub fn unpin(state: &State, pin: u64) -> Result<Option<Decision>, Refusal> {
    if !state.pins.contains_key(&pin) {
        return Err(Refusal::NoPin(pin));
    }
    Ok(Some(Decision::Unpinned { pin }))
}

/// Keeps a config that a data plane crashed on from all others, unless that is so already, or an
/// operator knows better.
pub fn quarantine(
    state: &State,
    config_hash: ConfigHash,
    (node_id, why): (Uuid, &str),
    instead: Option<Position>,
) -> Option<Decision> {
    let instead = instead.filter(|it| it.config_hash != config_hash);
    let why = why.to_owned();
    let takes = state.quarantine.takes(config_hash);
    takes.then_some(Decision::Quarantined { config_hash, node_id, why, instead })
}

/// Announces a config again that is in quarantine.
pub fn release(state: &State, config_hash: ConfigHash) -> Result<Option<Decision>, Refusal> {
    match state.quarantine.of(config_hash) {
        Some(_) => Ok(Some(Decision::Released { config_hash })),
        None => Err(Refusal::NotQuarantined(config_hash)),
    }
}

/// Sets how heads are rolled out. What is announced now is what everyone goes back to; a head on
/// its way is given up, and begins its way by the new plan.
pub fn plan(
    state: &State,
    newest: Position,
    plan: Option<Plan>,
) -> Result<Option<Decision>, Refusal> {
    if let Some(plan) = &plan {
        check(plan)?;
    }
    let old = state.rollout.as_ref();
    if old.map(|rollout| &rollout.plan) == plan.as_ref() {
        return Ok(None);
    }
    let good = old.map_or_else(|| state.announced(newest), |rollout| rollout.good);
    Ok(Some(Decision::Planned { plan, good }))
}

fn check(plan: &Plan) -> Result<(), Refusal> {
    let wrong = |text: String| Err(Refusal::Plan(text));
    if plan.waves.is_empty() {
        return wrong(
            "at least one wave is required: without a plan heads go to all at once".into(),
        );
    }
    if plan.waves.len() > WAVES_MAX {
        return wrong(format!("at most {WAVES_MAX} waves are possible"));
    }
    for (number, wave) in plan.waves.iter().enumerate() {
        match wave {
            Wave::Count(0) => {
                return wrong(format!("wave {}: expected a number of 1 or more", number + 1));
            }
            Wave::Labels(labels) if labels.is_empty() => {
                return wrong(format!("wave {}: at least one label is required", number + 1));
            }
            Wave::Count(_) | Wave::Labels(_) => {}
        }
    }
    Ok(())
}

/// Reads labels as people write them: `region=eu,tier=edge`.
pub fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let expected = "expected labels such as region=eu,tier=edge";
    let mut labels = BTreeMap::new();
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=').ok_or(expected)?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(expected);
        }
    }
    Ok(labels)
}
