//! What is in force, as the API and the command line show it.

use serde_json::{Map, Value, json};

use crate::fleet::DataPlaneRow;
use crate::promotion::decision::{Position, Selector, Wave};
use crate::promotion::keeper::Keeper;
use crate::promotion::quarantine::Quarantine;
use crate::promotion::rollout::{Active, Rollout, Stop};
use crate::promotion::state::{Hold, Made, Pin, State};

/// Returns the freeze, and what it keeps back.
pub fn describe_freeze(state: &State, newest: Position) -> Value {
    let announced = state.announced(newest);
    let mut shown = json!({
        "frozen": state.frozen.is_some(),
        "seq": announced.seq,
        "config_hash": announced.config_hash,
        "newest_seq": newest.seq,
        "newest_hash": newest.config_hash,
    });
    if let Some(frozen) = &state.frozen {
        sign(&mut shown, &frozen.made);
    }
    shown
}

/// Returns a pin.
pub fn describe_pin(pin: &Pin) -> Value {
    let (node_id, labels) = match &pin.who {
        Selector::NodeId(id) => (Some(id), None),
        Selector::Labels(labels) => (None, Some(labels)),
    };
    let mut shown = json!({
        "id": pin.made.id,
        "node_id": node_id,
        "labels": labels,
        "seq": pin.position.seq,
        "config_hash": pin.position.config_hash,
    });
    sign(&mut shown, &pin.made);
    shown
}

/// Returns a config in quarantine.
pub fn describe_quarantine(kept: &Quarantine) -> Value {
    json!({
        "config_hash": kept.config_hash,
        "node_id": kept.node_id,
        "why": kept.why,
        "instead_seq": kept.instead.map(|it| it.seq),
        "instead_hash": kept.instead.map(|it| it.config_hash),
        "at": kept.made.at,
    })
}

/// Returns the plan, and how far the last head got.
pub fn describe_rollout(state: &State) -> Value {
    let Some(rollout) = &state.rollout else {
        return json!({"waves": [], "state": "all_at_once"});
    };
    let mut shown = json!({
        "waves": rollout.plan.waves.iter().map(describe_wave).collect::<Vec<_>>(),
        "quiet_seconds": rollout.plan.quiet_seconds,
        "timeout_seconds": rollout.plan.timeout_seconds,
        "state": phase(state, rollout),
        "good_seq": rollout.good.seq,
        "good_hash": rollout.good.config_hash,
        "active": rollout.active.as_ref().map(|active| describe_active(rollout, active)),
        "stopped": rollout.stopped.as_ref().map(describe_stop),
    });
    sign(&mut shown, &rollout.made);
    shown
}

fn phase(state: &State, rollout: &Rollout) -> &'static str {
    match (&rollout.active, &rollout.stopped) {
        (Some(_), _) if state.frozen.is_some() => "frozen",
        (Some(_), _) => "active",
        (None, Some(_)) => "stopped",
        (None, None) => "done",
    }
}

fn describe_wave(wave: &Wave) -> Value {
    match wave {
        Wave::Count(count) => json!({"count": count}),
        Wave::Labels(labels) => json!({"labels": labels}),
    }
}

fn describe_active(rollout: &Rollout, active: &Active) -> Value {
    json!({
        "seq": active.target.seq,
        "config_hash": active.target.config_hash,
        "wave": active.wave + 1,
        "waves": rollout.plan.waves.len() + 1,
        "waits_for": active.joined.difference(&active.applied).collect::<Vec<_>>(),
        "applied": active.applied,
        "since": active.since.at,
    })
}

fn describe_stop(stop: &Stop) -> Value {
    json!({
        "seq": stop.target.seq,
        "config_hash": stop.target.config_hash,
        "node_id": stop.node_id,
        "why": why(stop),
        "at": stop.made.at,
    })
}

fn why(stop: &Stop) -> String {
    format!("data plane {} {}", stop.node_id, stop.why)
}

/// Adds whose decision something is.
fn sign(shown: &mut Value, made: &Made) {
    shown["by"] = made.actor.as_str().into();
    shown["at"] = json!(made.at);
    shown["reason"] = json!(made.reason);
}

/// Returns the columns of a data plane that tell what it is to get, and what holds it there.
pub(in crate::admin) fn of_data_plane(keeper: &Keeper, row: &DataPlaneRow) -> Map<String, Value> {
    let (assigned, hold) = keeper.assigned(row);
    let state = &keeper.view().state;
    let why = match hold {
        None => None,
        Some(Hold::Freeze) => state.frozen.as_ref().and_then(|it| it.made.reason.clone()),
        Some(Hold::Pin(id)) => state.pins.get(&id).and_then(|it| it.made.reason.clone()),
        Some(Hold::Rollout) => state.rollout.as_ref().and_then(|it| it.stopped.as_ref()).map(why),
        Some(Hold::Quarantine) => keeper.quarantined(row).map(|kept| {
            format!("data plane {} refused {}: {}", kept.node_id, kept.config_hash, kept.why)
        }),
    };
    let pin = match hold {
        Some(Hold::Pin(id)) => Some(id),
        _ => None,
    };
    let held_by = hold.map(|hold| match hold {
        Hold::Freeze => "freeze",
        Hold::Pin(_) => "pin",
        Hold::Rollout => "rollout",
        Hold::Quarantine => "quarantine",
    });
    let columns = [
        ("assigned_seq", json!(assigned.map(|it| it.seq))),
        ("assigned_hash", json!(assigned.map(|it| it.config_hash))),
        ("held_by", json!(held_by)),
        ("held_why", json!(why)),
        ("pin", json!(pin)),
    ];
    columns.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}
