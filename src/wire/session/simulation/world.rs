//! Control planes, data planes and the network between them, moved on step by step.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::log::{CATALOG, CONFIGS, Control, Log, is_poison};
use super::plane::{Link, Plane, Work};
use crate::domain::event::{Seq, encode_changes};
use crate::promotion::decision::{Decision, Position, Selector};
use crate::promotion::order;
use crate::snapshot::head::SignedHead;
use crate::wire::frame::{Delta, FromControl, PROTOCOL, Welcome};
use crate::wire::session::follower::{self, Follower};
use crate::wire::session::publisher::{self, Publisher, Timing};

const CONTROLS: usize = 3;
const PLANES: usize = 5;

/// How many frames of before are kept to be slipped in again.
const RECORDED_MAX: usize = 200;

pub(super) struct World {
    seed: u64,
    rng: StdRng,
    now: Instant,
    log: Log,
    /// None is one that is down.
    controls: Vec<Option<Control>>,
    planes: Vec<Plane>,
    recorded: Vec<SignedHead>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let log = Log::new();
        Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            controls: (0..CONTROLS).map(|_| Some(Control::start(&log))).collect(),
            planes: (1..=PLANES as u128).map(Plane::new).collect(),
            log,
            recorded: Vec::new(),
        }
    }

    /// Something happens.
    pub(super) fn step(&mut self) {
        let i = self.rng.random_range(0..PLANES);
        let k = self.rng.random_range(0..CONTROLS);
        match self.rng.random_range(0..200) {
            0..8 => self.publish(k),
            8..24 => {
                let (heads, rows) = (self.rng.random_range(0..4), self.rng.random_range(0..4));
                self.tail(k, heads, rows);
            }
            24..32 => self.order(k),
            32..36 => self.control_crashes(k),
            36 => self.restore(),
            37..45 => self.planes[i].disconnect(self.now),
            45..49 => {
                let (cache, pin) = (self.rng.random_bool(0.3), self.rng.random_bool(0.3));
                self.planes[i].crash(cache, pin);
            }
            49..55 => self.slip_in(i),
            55..80 => {
                self.now += Duration::from_secs(self.rng.random_range(1..20));
                self.tick(i);
            }
            80..115 => self.work(i, true),
            _ => self.deliver(i, true),
        }
    }

    /// Time passes and nothing is lost, so that everyone gets where it is to be.
    pub(super) fn settle(&mut self) {
        for k in 0..CONTROLS {
            self.controls[k].get_or_insert_with(|| Control::start(&self.log));
            self.tail(k, usize::MAX >> 1, usize::MAX >> 1);
        }
        for _ in 0..150 {
            self.now += Duration::from_secs(5);
            for i in 0..PLANES {
                self.tick(i);
                for _ in 0..4 {
                    self.deliver(i, false);
                    self.work(i, false);
                    self.work(i, false);
                }
            }
            // A head that was stated anew on behalf of one is news for all.
            (0..CONTROLS).for_each(|k| self.tail(k, 1, 9));
        }
        for i in 0..PLANES {
            let plane = &self.planes[i];
            let control = self.controls[0].as_ref().unwrap();
            let offer = control.offer(plane.id, &plane.labels).unwrap();
            let wanted = offer.head.config_hash;
            let (served, seed) = (plane.snapshot.hash(), self.seed);
            if served != wanted {
                assert!(is_poison(wanted), "seed {seed}, plane {i}: {served} for {wanted}");
                assert_eq!(plane.refused, Some(wanted), "seed {seed}, plane {i}");
                continue;
            }
            let applied = plane.memory().applied.map(|p| (p.epoch, p.revision, p.seq));
            let wanted = (self.log.epoch, offer.revision, offer.head.seq);
            assert_eq!(applied, Some(wanted), "seed {seed}, plane {i}");
        }
    }

    /// Without freeze and pins everyone gets to the newest, which is one that can be served.
    pub(super) fn lift_all_orders(&mut self) {
        let pins: Vec<_> = self.view(0).state.pins.keys().copied().collect();
        let unpinned = pins.into_iter().map(|pin| Decision::Unpinned { pin });
        let lifted: Vec<_> = unpinned.chain([Decision::Unfrozen]).collect();
        lifted.iter().for_each(|decision| self.log.decide(decision));
        self.log.append(&CONFIGS[1]);
    }

    fn view(&self, k: usize) -> &crate::promotion::view::View {
        self.controls[k].as_ref().unwrap().view()
    }

    fn publish(&mut self, k: usize) {
        if self.controls[k].is_none() {
            return;
        }
        let n = self.rng.random_range(0..CONFIGS.len());
        self.log.append(&CONFIGS[n]);
        self.tail(k, usize::MAX >> 1, 0);
    }

    /// A control plane sees more of the log, and tells its sessions.
    fn tail(&mut self, k: usize, heads: usize, rows: usize) {
        let Some(control) = &mut self.controls[k] else { return };
        control.tail(&self.log, heads, rows);
        for i in 0..PLANES {
            self.offer(i, k);
        }
    }

    /// Tells a session what its data plane is to get, if that is at hand.
    fn offer(&mut self, i: usize, k: usize) {
        let (now, plane) = (self.now, &mut self.planes[i]);
        let Some(control) = &self.controls[k] else { return };
        let Some(offer) = control.offer(plane.id, &plane.labels) else { return };
        if let Some(link) = plane.link.as_mut().filter(|link| link.control == k) {
            let actions = link.publisher.offer(offer, now);
            self.control_does(i, actions);
        }
    }

    /// An operator freezes, unfreezes, pins or unpins, at a control plane that knows the newest.
    fn order(&mut self, k: usize) {
        if self.controls[k].is_none() {
            return;
        }
        self.tail(k, usize::MAX >> 1, usize::MAX >> 1);
        let newest = self.log.newest();
        let any = self.rng.random_range(0..=newest.seq.0) as usize;
        let (newest, at) = (Position::of(newest), Position::of(&self.log.heads[any]));
        let who = match self.rng.random_bool(0.5) {
            true => Selector::Labels(BTreeMap::from([("tier".to_owned(), "edge".to_owned())])),
            false => Selector::NodeId(Uuid::from_u128(self.rng.random_range(1..4))),
        };
        let dice = self.rng.random_range(0..4);
        let state = &self.view(k).state;
        let decision = match dice {
            0 => order::freeze(state, newest, None).unwrap(),
            1 => order::unfreeze(state),
            2 => order::pin(state, who, at).unwrap(),
            _ => state.pins.keys().next().and_then(|pin| order::unpin(state, *pin).unwrap()),
        };
        if let Some(decision) = decision {
            self.log.decide(&decision);
            self.tail(k, 0, 1);
        }
    }

    /// A control plane is killed, or starts again.
    fn control_crashes(&mut self, k: usize) {
        if self.controls[k].take().is_none() {
            self.controls[k] = Some(Control::start(&self.log));
            return;
        }
        let now = self.now;
        let theirs = |plane: &&mut Plane| plane.link.as_ref().is_some_and(|it| it.control == k);
        self.planes.iter_mut().filter(theirs).for_each(|plane| plane.disconnect(now));
    }

    fn restore(&mut self) {
        let heads = self.rng.random_range(1..=self.log.heads.len());
        // What a decision names has to be there.
        let rows = if self.log.rows.is_empty() { 0 } else { self.rng.random_range(0..=1) };
        self.log.restore(heads, rows * usize::from(heads == self.log.heads.len()));
        let now = self.now;
        self.planes.iter_mut().for_each(|plane| plane.disconnect(now));
        self.controls.iter_mut().for_each(|it| *it = Some(Control::start(&self.log)));
    }

    /// Somebody on the way slips in a head of before, or one that is forged.
    fn slip_in(&mut self, i: usize) {
        if self.recorded.is_empty() {
            return;
        }
        let n = self.rng.random_range(0..self.recorded.len());
        let mut head = self.recorded[n];
        match self.rng.random_range(0..4) {
            0 => head.seq = Seq(head.seq.0 + 100),
            1 => head.epoch += 1,
            2 => head.revision += 1,
            _ => {}
        }
        if let Some(link) = &mut self.planes[i].link {
            link.down.push_back(serde_json::to_string(&FromControl::Head(head)).unwrap());
        }
    }

    fn connect(&mut self, i: usize) {
        let k = self.rng.random_range(0..CONTROLS);
        if self.controls[k].is_none() {
            return;
        }
        if self.rng.random_bool(0.5) {
            let tier = if self.rng.random_bool(0.5) { "edge" } else { "core" };
            self.planes[i].labels = BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        }
        let (now, timing, plane) = (self.now, Timing::default(), &mut self.planes[i]);
        let publisher = Publisher::new(timing, now).in_epoch(self.log.epoch);
        let (follower, first) = Follower::new(timing, plane.memory(), plane.hello(), now);
        let (up, down) = (VecDeque::new(), VecDeque::new());
        plane.link = Some(Link { control: k, publisher, follower, up, down, work: None });
        self.offer(i, k);
        self.data_does(i, vec![first]);
    }

    fn control_does(&mut self, i: usize, actions: Vec<publisher::Action>) {
        for action in actions {
            let Some(link) = &mut self.planes[i].link else { return };
            let k = link.control;
            let frame = match action {
                publisher::Action::Welcome => {
                    FromControl::Welcome(Welcome { protocol: PROTOCOL, pin: self.log.pin() })
                }
                publisher::Action::Heartbeat => FromControl::Heartbeat,
                publisher::Action::Announce { offer, from } => {
                    let head = self.log.sign(offer.revision, &offer.head);
                    if self.recorded.len() < RECORDED_MAX {
                        self.recorded.push(head);
                    }
                    let known = |hash| self.controls[k].as_ref().is_some_and(|it| it.knows(hash));
                    let base = from.filter(|from| known(*from)).and_then(super::log::config);
                    base.map_or(FromControl::Head(head), |base| {
                        let target = offer.head.snapshot.config();
                        let changes = encode_changes(&base.config().diff(&CATALOG, target));
                        FromControl::Delta(Delta { from: base.hash(), head, changes })
                    })
                }
                publisher::Action::Restate(revision) => {
                    if self.view(k).state.revision == revision {
                        self.restate(i, k, revision);
                    }
                    continue;
                }
                publisher::Action::Close(_) => return self.planes[i].disconnect(self.now),
                _ => continue,
            };
            if let Some(link) = &mut self.planes[i].link {
                link.down.push_back(serde_json::to_string(&frame).unwrap());
            }
        }
    }

    /// A control plane states heads anew on behalf of a data plane, unless somebody did so already.
    fn restate(&mut self, i: usize, k: usize, revision: u64) {
        if let Some(control) = &mut self.controls[k] {
            control.tail(&self.log, 0, usize::MAX >> 1);
        }
        if self.view(k).state.revision == revision {
            let node_id = self.planes[i].id;
            self.log.decide(&Decision::Restated { node_id });
        }
        self.tail(k, 0, 1);
    }

    fn data_does(&mut self, i: usize, actions: Vec<follower::Action>) {
        if let Some(position) = self.planes[i].moved() {
            let where_and_what = (position.epoch, position.seq, position.config_hash);
            assert!(self.log.published.contains(&where_and_what), "never published there");
        }
        for action in actions {
            let plane = &mut self.planes[i];
            let refused = plane.refused;
            let Some(link) = &mut plane.link else { return };
            match action {
                follower::Action::Send(frame) => {
                    link.up.push_back(serde_json::to_string(&frame).unwrap());
                }
                follower::Action::Obtain { head, delta } => {
                    assert!(link.work.is_none(), "two at a time");
                    assert_ne!(refused, Some(head.config_hash), "fetched again");
                    let where_and_what = (head.epoch, head.seq, head.config_hash);
                    assert!(self.log.published.contains(&where_and_what), "never published there");
                    link.work = Some(Work { head, delta, fetched: None });
                }
                follower::Action::Pin(pin) => plane.keep_pin(pin),
                follower::Action::Keep(head) => plane.keep(head),
                follower::Action::Distrust(..) => {}
                follower::Action::Close(_) => return plane.disconnect(self.now),
            }
        }
    }

    /// Content comes, or comes into force.
    fn work(&mut self, i: usize, bad: bool) {
        let (now, plane) = (self.now, &mut self.planes[i]);
        let Some(link) = &mut plane.link else { return };
        let Some(mut work) = link.work.take() else { return };
        if let Some(snapshot) = work.fetched.take() {
            let actions = if is_poison(work.head.config_hash) {
                let actions = link.follower.rejected(work.rejected(), now);
                plane.refused = Some(work.head.config_hash);
                actions
            } else {
                let actions = link.follower.applied(work.head, now);
                plane.serve(work.head, snapshot);
                actions
            };
            return self.data_does(i, actions);
        }
        let known = |control: &Control| control.knows(work.head.config_hash);
        let is_there = self.controls[link.control].as_ref().is_some_and(known);
        let (dice, at) = (self.rng.random_range(0..10), self.rng.random_range(0..usize::MAX));
        let damage = |bytes: &mut Vec<u8>| match dice {
            0 if bad => bytes.truncate(at % bytes.len()),
            1 if bad => {
                let at = at % (bytes.len() * 8);
                bytes[at / 8] ^= 1 << (at % 8);
            }
            _ => {}
        };
        match work.content(&plane.snapshot, damage) {
            // Nobody answered, or not well: another time.
            _ if !is_there || (bad && dice == 2) => plane.disconnect(now),
            Err(error) => {
                assert!(bad && error.is_damage(), "seed {}: {error}", self.seed);
                plane.disconnect(now);
            }
            Ok(snapshot) => {
                work.fetched = Some(snapshot);
                link.work = Some(work);
            }
        }
    }

    /// Delivers the first frame of each queue; a bad network swaps, loses, doubles and cuts.
    fn deliver(&mut self, i: usize, bad: bool) {
        let now = self.now;
        let mut dice = || if bad { self.rng.random_range(0..40) } else { 40 };
        let (up, down) = (dice(), dice());
        let Some(link) = &mut self.planes[i].link else { return };
        if let Some(text) = arriving(&mut link.up, up) {
            let Ok(frame) = serde_json::from_str(&text) else {
                return self.planes[i].disconnect(now);
            };
            let hello = matches!(frame, crate::wire::frame::FromData::Hello(_));
            let actions = link.publisher.frame(frame, now);
            let k = link.control;
            self.control_does(i, actions);
            if hello {
                self.offer(i, k);
            }
        }
        let Some(link) = &mut self.planes[i].link else { return };
        if let Some(text) = arriving(&mut link.down, down) {
            let Ok(frame) = serde_json::from_str(&text) else {
                return self.planes[i].disconnect(now);
            };
            let actions = link.follower.frame(frame, now);
            self.data_does(i, actions);
        }
    }

    fn tick(&mut self, i: usize) {
        let now = self.now;
        if let Some(link) = &mut self.planes[i].link {
            let (theirs, ours) = (link.publisher.tick(now), link.follower.tick(now));
            self.control_does(i, theirs);
            self.data_does(i, ours);
        } else {
            self.connect(i);
        }
    }
}

/// Returns the frame that arrives next.
fn arriving(queue: &mut VecDeque<String>, dice: u32) -> Option<String> {
    match dice {
        0..4 if queue.len() > 1 => queue.swap(0, 1),
        4..7 => drop(queue.pop_front()),
        7..10 => {
            let again = queue.front().cloned();
            queue.extend(again);
        }
        10 => {
            if let Some(text) = queue.front_mut() {
                text.truncate(text.len() / 2);
            }
        }
        _ => {}
    }
    queue.pop_front()
}
