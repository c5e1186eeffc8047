//! Decisions added up, and rollouts over several control planes with data planes that refuse.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::decision::{Decision, Peer, Plan, Position, Selector, Wave};
use super::order::{self, Refusal};
use super::rollout::{Conductor, Seen};
use super::state::{Assignment, Hold, State};
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::fleet::Refused;
use crate::log::promotions::PromotionRow;

fn position(seq: u64) -> Position {
    Position { seq: Seq(seq), config_hash: ConfigHash([seq as u8; 32]) }
}

fn labels(text: &str) -> BTreeMap<String, String> {
    order::parse_labels(text).unwrap()
}

fn peer(id: u128, text: &str) -> Peer {
    Peer { id: Uuid::from_u128(id), labels: labels(text) }
}

fn row(id: u64, decision: &Decision) -> PromotionRow {
    PromotionRow {
        id,
        at: Default::default(),
        actor: "ann".into(),
        source: "cli".into(),
        reason: None,
        decision: serde_json::to_string(decision).unwrap(),
    }
}

fn folded(decisions: &[Decision]) -> State {
    let mut state = State::default();
    for decision in decisions {
        let next = state.tip + 1;
        state.fold(&row(next, decision));
    }
    state
}

fn pinned(who: Selector, seq: u64) -> Decision {
    Decision::Pinned { who, to: position(seq) }
}

#[test]
fn the_closest_pin_counts_and_of_several_the_newest() {
    let id = Uuid::from_u128(1);
    let state = folded(&[
        pinned(Selector::NodeId(id), 1),
        pinned(Selector::Labels(labels("region=eu,tier=edge")), 2),
        pinned(Selector::Labels(labels("region=eu")), 3),
        pinned(Selector::Labels(labels("tier=edge")), 4),
    ]);
    for (it, seq) in [
        (peer(1, "region=eu,tier=edge"), Some(1)),
        (peer(2, "region=eu,tier=edge,x=y"), Some(2)),
        (peer(2, "region=eu"), Some(3)),
        (peer(2, "tier=edge,region=us"), Some(4)),
        (peer(2, "region=us"), None),
    ] {
        let assigned = match state.assign(&it) {
            Assignment::Held(position, Hold::Pin(_)) => Some(position.seq.0),
            _ => None,
        };
        assert_eq!(assigned, seq, "{it:?}");
    }
    let held: Vec<_> = state.held().iter().map(|position| position.seq.0).collect();
    assert_eq!(held, [1, 2, 3, 4]);
}

#[test]
fn a_pin_replaces_the_one_of_the_same_data_planes() {
    let who = Selector::Labels(labels("region=eu"));
    let state = folded(&[pinned(who.clone(), 1), pinned(who.clone(), 2)]);
    assert_eq!(state.pins.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(order::pin(&state, who, position(2)), Ok(None), "it is there");
    assert_eq!(order::unpin(&state, 1), Err(Refusal::NoPin(1)));
    assert_eq!(
        folded(&[pinned(Selector::NodeId(Uuid::nil()), 1), Decision::Unpinned { pin: 1 }])
            .pins
            .len(),
        0
    );
}

#[test]
fn a_freeze_neither_goes_back_nor_ahead() {
    let state = folded(&[Decision::Frozen { at: position(5) }]);
    let freeze = |at| order::freeze(&state, position(9), Some(position(at)));
    let (asked, announced) = (Seq(4), Seq(5));
    assert_eq!(freeze(4), Err(Refusal::FreezeBack { asked, announced }));
    assert_eq!(freeze(6), Err(Refusal::FreezeAhead { asked: Seq(6), announced }));
    assert_eq!(freeze(5), Ok(None));
    assert!(order::freeze(&State::default(), position(9), None).unwrap().is_some());
}

#[test]
fn what_a_newer_version_decided_is_passed_over() {
    let mut state = State::default();
    let unknown =
        PromotionRow { decision: r#"{"type":"new","x":1}"#.into(), ..row(1, &Decision::Unfrozen) };
    state.fold(&unknown);
    state.fold(&PromotionRow { id: 2, decision: "garbage".into(), ..unknown });
    assert_eq!(state, State { tip: 2, revision: 2, ..State::default() });
}

#[test]
fn a_plan_that_reaches_nobody_is_refused() {
    for waves in [vec![], vec![Wave::Count(0)], vec![Wave::Labels(BTreeMap::new())]] {
        let plan = Plan { waves, quiet_seconds: 0, timeout_seconds: 1 };
        let refused = order::plan(&State::default(), position(1), Some(plan));
        assert!(matches!(refused, Err(Refusal::Plan(_))), "{refused:?}");
    }
    assert!(order::parse_labels("region").is_err());
    assert!(order::parse_labels("a=1,a=2").is_err());
}

const QUIET: u32 = 5;
const TIMEOUT: u32 = 600;

/// A data plane of the simulation.
struct Plane {
    peer: Peer,
    /// Which control plane it is attached to.
    at: usize,
    served: Position,
    refused: Option<Refused>,
    /// Never serves what it is given.
    deaf: bool,
}

struct Control {
    state: State,
    conductor: Conductor,
}

struct World {
    rng: StdRng,
    now: Instant,
    rows: Vec<PromotionRow>,
    newest: u64,
    bad: Vec<u64>,
    controls: Vec<Control>,
    planes: Vec<Plane>,
}

impl World {
    fn new(seed: u64, waves: Vec<Wave>) -> Self {
        let plan = Plan { waves, quiet_seconds: QUIET, timeout_seconds: TIMEOUT };
        let planned = Decision::Planned { plan: Some(plan), good: position(0) };
        let planes = (0..6).map(|i| Plane {
            peer: peer(i, if i < 2 { "tier=canary" } else { "tier=core" }),
            at: i as usize % 2,
            served: position(0),
            refused: None,
            deaf: false,
        });
        let control = || Control { state: State::default(), conductor: Conductor::default() };
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            rows: vec![row(1, &planned)],
            newest: 0,
            bad: Vec::new(),
            controls: vec![control(), control()],
            planes: planes.collect(),
        }
    }

    /// A control plane reads what was decided, and decides what is due if nobody was faster.
    fn look(&mut self, c: usize) {
        let control = &mut self.controls[c];
        if self.rng.random_bool(0.8) {
            for row in &self.rows[control.state.tip as usize..] {
                control.state.fold(row);
            }
        }
        let Some(rollout) = &control.state.rollout else { return };
        let mine = self.planes.iter().filter(|plane| plane.at == c);
        let seen: Vec<_> = mine
            .map(|plane| Seen {
                peer: plane.peer.clone(),
                applied: Some(plane.served.config_hash),
                refused: plane.refused.clone(),
                is_pinned: false,
            })
            .collect();
        let newest = position(self.newest);
        let due = control.conductor.step(rollout, false, newest, &seen, self.now);
        let is_first = control.state.tip as usize == self.rows.len();
        if let Some(due) = due.filter(|_| is_first) {
            self.rows.push(row(self.rows.len() as u64 + 1, &due));
        }
    }

    /// A data plane takes what its control plane has for it, or refuses it.
    fn take(&mut self, i: usize) {
        let plane = &mut self.planes[i];
        let state = &self.controls[plane.at].state;
        let Assignment::Held(given, _) = state.assign(&plane.peer) else { return };
        let is_refused = plane.refused.as_ref().map(|it| it.config_hash) == Some(given.config_hash);
        if plane.deaf || is_refused {
            return;
        }
        if self.bad.contains(&given.seq.0) {
            let (config_hash, revision) = (given.config_hash, state.revision);
            let (phase, reason) = ("compile".into(), "no".into());
            let (entity, pointer) = (None, None);
            plane.refused = Some(Refused { config_hash, revision, phase, entity, pointer, reason });
            return;
        }
        plane.served = given;
        plane.refused = None;
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.rng.random_range(0..2000));
        let (c, i) = (self.rng.random_range(0..2), self.rng.random_range(0..self.planes.len()));
        match self.rng.random_range(0..40) {
            // A restart forgets what is not in the database.
            0 => {
                self.controls[c].state = State::default();
                self.controls[c].conductor = Conductor::default();
            }
            1 => self.planes[i].at = c,
            2..=20 => self.look(c),
            _ => self.take(i),
        }
    }

    fn state(&self) -> State {
        let mut state = State::default();
        self.rows.iter().for_each(|row| state.fold(row));
        state
    }

    fn run(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step());
    }
}

fn canaries() -> Vec<Wave> {
    vec![Wave::Labels(labels("tier=canary")), Wave::Count(1)]
}

#[test]
fn good_heads_get_everywhere_in_the_end() {
    for seed in 0..20 {
        let mut world = World::new(seed, canaries());
        for newest in 1..4 {
            world.newest = newest;
            let steps = world.rng.random_range(0..200);
            world.run(steps);
        }
        world.run(2000);
        for plane in &world.planes {
            assert_eq!(plane.served, position(3), "seed {seed}");
        }
        let rollout = world.state().rollout.unwrap();
        assert_eq!((rollout.good, rollout.active), (position(3), None), "seed {seed}");
    }
}

#[test]
fn a_bad_head_stays_with_the_first_wave_and_is_taken_back() {
    for seed in 0..20 {
        let mut world = World::new(seed, canaries());
        (world.newest, world.bad) = (1, vec![1]);
        for _ in 0..1000 {
            world.step();
            for control in &world.controls {
                for plane in &world.planes[2..] {
                    let given = control.state.assign(&plane.peer);
                    let bad = Assignment::Held(position(1), Hold::Rollout);
                    assert_ne!(given, bad, "seed {seed}: {:?}", plane.peer);
                }
            }
        }
        let rollout = world.state().rollout.unwrap();
        assert!(rollout.stopped.is_some_and(|stop| stop.why.contains("no")), "seed {seed}");
        // The next head is tried, and a head of before is good again.
        world.newest = 2;
        world.run(2000);
        assert!(world.planes.iter().all(|plane| plane.served == position(2)), "seed {seed}");
    }
}

#[test]
fn a_data_plane_that_does_not_take_the_head_ends_the_rollout() {
    let mut world = World::new(7, canaries());
    world.newest = 1;
    world.planes[0].deaf = true;
    for _ in 0..2000 {
        world.now += Duration::from_secs(1);
        (0..2).for_each(|c| world.look(c));
        (0..world.planes.len()).for_each(|i| world.take(i));
    }
    let rollout = world.state().rollout.unwrap();
    let stop = rollout.stopped.unwrap();
    assert_eq!(
        (stop.node_id, &*stop.why),
        (Uuid::from_u128(0), "did not serve it within 600 seconds")
    );
    assert!(world.planes.iter().all(|plane| plane.served == position(0)));
}

#[test]
fn a_wave_that_is_a_number_has_so_many() {
    let mut world = World::new(3, vec![Wave::Count(2)]);
    world.newest = 1;
    world.planes.iter_mut().for_each(|plane| plane.deaf = true);
    let joined = |world: &World| {
        let active = world.state().rollout.and_then(|rollout| rollout.active);
        active.map_or(0, |active| active.joined.len())
    };
    while joined(&world) < 2 {
        world.step();
    }
    world.look(0);
    world.look(1);
    let active = world.state().rollout.and_then(|rollout| rollout.active);
    let active = active.unwrap();
    assert_eq!((active.wave, active.joined.len()), (0, 2));
    let reached = world.planes.iter().filter(|plane| {
        world.state().assign(&plane.peer) == Assignment::Held(position(1), Hold::Rollout)
    });
    assert_eq!(reached.count(), 2);
}

#[test]
fn a_wave_is_over_only_after_the_quiet_time_and_not_while_frozen() {
    let plan = Plan { waves: vec![Wave::Count(1)], quiet_seconds: 5, timeout_seconds: 60 };
    let id = Uuid::from_u128(1);
    let mut state = folded(&[
        Decision::Planned { plan: Some(plan), good: position(0) },
        Decision::Began { target: position(1) },
        Decision::Reported { joined: vec![id], applied: vec![] },
        Decision::Reported { joined: vec![], applied: vec![id] },
    ]);
    let seen = [Seen {
        peer: peer(1, "a=b"),
        applied: Some(position(1).config_hash),
        refused: None,
        is_pinned: false,
    }];
    let (mut conductor, start) = (Conductor::default(), Instant::now());
    let mut step = |state: &State, frozen, seconds| {
        let now = start + Duration::from_secs(seconds);
        conductor.step(state.rollout.as_ref().unwrap(), frozen, position(1), &seen, now)
    };
    assert_eq!(step(&state, false, 0), None);
    assert_eq!(step(&state, false, 4), None);
    assert_eq!(step(&state, true, 5), None);
    assert_eq!(step(&state, false, 6), None, "the quiet time begins anew");
    assert_eq!(step(&state, false, 11), Some(Decision::Advanced));
    state.fold(&row(5, &Decision::Advanced));
    let joined = vec![];
    let expected = Decision::Reported { joined: vec![id], applied: joined };
    assert_eq!(step(&state, false, 12), Some(expected));
}
