//! Many data planes and several control planes that share a log, over a bad network: frames are
//! lost, doubled, swapped, cut off and late, and either side crashes.
//!
//! Invariants, whatever happens:
//! - a data plane serves what was published, and within a session nothing older, unless the network
//!   swapped frames, which this dialect cannot tell;
//! - a data plane that says what it cannot serve is not sent that again before it served another;
//! - when it is quiet, each data plane serves the newest, or has refused it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use super::Timing;
use super::inlet::{self, Inlet};
use super::outlet::{self, Outlet};
use crate::domain::hash::ConfigHash;
use crate::promotion::view::Offer;
use crate::wire::kong::introduction::basic_info;
use crate::wire::kong::table::{ZERO_HASH, config_hash};
use crate::wire::kong::websocket::{Frame, Side};
use crate::wire::session::simulation::for_each_seed;
use crate::writer::Head;

const LEN_MAX: usize = 1 << 20;
const CONTROLS: usize = 2;
const PLANES: usize = 5;

/// One direction of a connection: frames that were sent, and their bytes as they come.
#[derive(Default)]
struct Way {
    frames: Vec<Frame>,
    bytes: BytesMut,
    buffer: BytesMut,
}

impl Way {
    /// Moves some bytes on and returns the frames that are whole then.
    fn deliver(&mut self, side: Side, bytes_max: usize) -> Vec<Frame> {
        let mask = (side == Side::Server).then_some([7, 1, 9, 3]);
        for frame in self.frames.drain(..) {
            let (head, payload) = frame.encode(mask);
            self.bytes.extend_from_slice(&head);
            self.bytes.extend_from_slice(&payload);
        }
        let moved = self.bytes.split_to(bytes_max.min(self.bytes.len()));
        self.buffer.extend_from_slice(&moved);
        let mut whole = Vec::new();
        while let Some(frame) = Frame::decode(&mut self.buffer, side, LEN_MAX).unwrap() {
            whole.push(frame);
        }
        whole
    }
}

struct Link {
    /// Which control plane.
    control: usize,
    outlet: Outlet,
    inlet: Inlet,
    up: Way,
    down: Way,
    /// What the data plane puts in force now.
    applying: Option<Bytes>,
    /// The newest that came.
    newest: Option<Bytes>,
    /// What was put in force in this session.
    seq: u64,
    /// What the control plane was told that cannot be served.
    refused: Option<ConfigHash>,
    /// Whether the network swapped or doubled a configuration.
    disordered: bool,
}

struct Plane {
    link: Option<Link>,
    /// In its cache.
    hash: String,
    /// The name of what it could not serve last.
    refused: Option<String>,
    /// Whether it says so, as Kong's do and ours do not.
    reports: bool,
}

struct World {
    rng: StdRng,
    now: Instant,
    head: Arc<Head>,
    /// What each control plane has seen of the log; none is one that is down.
    controls: [Option<Arc<Head>>; CONTROLS],
    planes: Vec<Plane>,
}

fn hash_of(seq: u64) -> ConfigHash {
    // Every third config is one that was there before, as after a rollback.
    ConfigHash([if seq.is_multiple_of(3) { seq / 2 } else { seq } as u8; 32])
}

/// Returns whether no data plane can serve a config.
fn is_poison(hash: &str) -> bool {
    (1..=u64::from(u8::MAX)).any(|seq| seq % 7 == 3 && config_hash(hash_of(seq)) == hash)
}

fn message(seq: u64) -> Bytes {
    Bytes::from(format!("{seq:0>300}"))
}

fn seq_of(message: &[u8]) -> u64 {
    std::str::from_utf8(message).unwrap().parse().unwrap()
}

impl World {
    fn publish(&mut self, k: usize) {
        let seq = self.head.seq.next();
        let config_hash = hash_of(seq.0);
        self.head = Arc::new(Head { seq, config_hash, ..Head::empty() });
        self.tail(k);
    }

    /// A control plane sees the newest head, and tells its sessions.
    fn tail(&mut self, k: usize) {
        let Some(seen) = &mut self.controls[k] else { return };
        seen.clone_from(&self.head);
        for i in 0..PLANES {
            let (offer, now) = (offer(&self.head), self.now);
            if let Some(link) = self.planes[i].link.as_mut().filter(|link| link.control == k) {
                let actions = link.outlet.offer(offer, now);
                self.control_does(i, actions);
            }
        }
    }

    /// A control plane is killed, or starts again.
    fn control_crashes(&mut self, k: usize) {
        if self.controls[k].take().is_none() {
            self.controls[k] = Some(self.head.clone());
        }
        for plane in &mut self.planes {
            plane.link.take_if(|link| link.control == k);
        }
    }

    fn connect(&mut self, i: usize) {
        let control = self.rng.random_range(0..CONTROLS);
        let Some(seen) = &self.controls[control] else { return };
        let info = basic_info(&Default::default(), &Default::default(), &Default::default());
        let mut outlet = Outlet::new(Timing::default(), self.now);
        outlet.offer(offer(seen), self.now);
        let hash = self.planes[i].hash.clone();
        let (inlet, first) = Inlet::new(Timing::default(), info.into(), hash, self.now);
        self.planes[i].link = Some(Link {
            control,
            outlet,
            inlet,
            up: Way::default(),
            down: Way::default(),
            applying: None,
            newest: None,
            seq: 0,
            refused: None,
            disordered: false,
        });
        self.data_does(i, first);
    }

    fn control_does(&mut self, i: usize, actions: Vec<outlet::Action>) {
        for action in actions {
            let now = self.now;
            let Some(link) = &mut self.planes[i].link else { return };
            let more = match action {
                outlet::Action::Judge(_) => link.outlet.accepted(now),
                outlet::Action::Push(offer) => {
                    let seen = self.controls[link.control].as_ref().map(|head| head.seq);
                    assert_eq!(Some(offer.head.seq), seen, "an old one is sent");
                    assert_ne!(Some(offer.head.config_hash), link.refused, "sent again");
                    link.down.frames.push(Frame::Binary(message(offer.head.seq.0)));
                    Vec::new()
                }
                outlet::Action::Pong => {
                    link.down.frames.push(Frame::Pong(Bytes::new()));
                    Vec::new()
                }
                outlet::Action::Failed(failure) => {
                    link.refused = failure.refused.map(|(hash, _)| hash).or(link.refused);
                    Vec::new()
                }
                outlet::Action::Pinged { served, .. } => {
                    if served.is_some() {
                        link.refused = None;
                    }
                    Vec::new()
                }
                outlet::Action::Close(_) => {
                    self.planes[i].link = None;
                    return;
                }
            };
            self.control_does(i, more);
        }
    }

    fn data_does(&mut self, i: usize, actions: Vec<inlet::Action>) {
        for action in actions {
            let Some(link) = &mut self.planes[i].link else { return };
            match action {
                inlet::Action::Send(frame) => link.up.frames.push(frame),
                inlet::Action::Apply(message) => {
                    assert!(link.applying.is_none(), "two at a time");
                    assert_eq!(Some(&message), link.newest.as_ref(), "not the newest");
                    link.applying = Some(message);
                }
                inlet::Action::Unknown(_) => {}
                inlet::Action::Close(_) => self.planes[i].link = None,
            }
        }
    }

    /// What was being put in force is served, or refused.
    fn finish(&mut self, i: usize) {
        let now = self.now;
        let plane = &mut self.planes[i];
        let Some(link) = &mut plane.link else { return };
        let Some(message) = link.applying.take() else { return };
        let seq = seq_of(&message);
        assert!(seq <= self.head.seq.0, "never published");
        assert!(link.disordered || seq >= link.seq, "it falls though nothing was swapped");
        let hash = config_hash(hash_of(seq));
        let actions = if is_poison(&hash) {
            if plane.reports {
                let name = "invalid declarative configuration";
                let error = json!({"name": name, "config_hash": hash, "message": "no"});
                let report = json!({"type": "error", "error": error}).to_string();
                link.up.frames.push(Frame::Binary(report.into()));
            }
            plane.refused = Some(hash);
            link.inlet.kept()
        } else {
            link.seq = seq;
            plane.refused = None;
            plane.hash.clone_from(&hash);
            link.inlet.applied(hash, now)
        };
        self.data_does(i, actions);
    }

    /// Moves bytes both ways; a bad network loses, doubles and swaps frames.
    fn deliver(&mut self, i: usize, bad: bool) {
        let now = self.now;
        let chunk = if bad { self.rng.random_range(1..200) } else { usize::MAX };
        let dice = self.rng.random_range(0..10);
        let Some(link) = &mut self.planes[i].link else { return };
        if bad && let Some(last) = link.down.frames.pop() {
            match dice {
                0 => {}
                1 => {
                    link.disordered = true;
                    link.down.frames.extend([last.clone(), last]);
                }
                2 => {
                    link.disordered = true;
                    link.down.frames.insert(0, last);
                }
                _ => link.down.frames.push(last),
            }
        }
        for frame in link.up.deliver(Side::Server, chunk) {
            let Some(link) = &mut self.planes[i].link else { return };
            let actions = link.outlet.frame(frame, now);
            self.control_does(i, actions);
        }
        let Some(link) = &mut self.planes[i].link else { return };
        let came = link.down.deliver(Side::Client, chunk);
        for frame in came {
            let Some(link) = &mut self.planes[i].link else { return };
            if let Frame::Binary(message) = &frame {
                link.newest = Some(message.clone());
            }
            let actions = link.inlet.frame(frame, now);
            self.data_does(i, actions);
        }
        // Whatever was written has left the control plane when the way is free.
        if let Some(link) = &mut self.planes[i].link
            && link.down.frames.is_empty()
            && link.down.bytes.is_empty()
        {
            let actions = link.outlet.sent(now);
            self.control_does(i, actions);
        }
    }

    fn tick(&mut self, i: usize) {
        let now = self.now;
        let Some(link) = &mut self.planes[i].link else { return self.connect(i) };
        let (theirs, ours) = (link.outlet.tick(now), link.inlet.tick(now));
        self.control_does(i, theirs);
        self.data_does(i, ours);
    }

    /// Time passes and nothing is lost, so that everyone gets where it is to be.
    fn settle(&mut self, seed: u64) {
        for _ in 0..400 {
            self.now += Duration::from_secs(15);
            for i in 0..self.planes.len() {
                self.tick(i);
                for _ in 0..4 {
                    self.deliver(i, false);
                    self.finish(i);
                }
            }
        }
        let wanted = config_hash(self.head.config_hash);
        for (i, plane) in self.planes.iter().enumerate() {
            if is_poison(&wanted) && plane.hash != wanted {
                assert_eq!(plane.refused.as_ref(), Some(&wanted), "seed {seed}, plane {i}");
                continue;
            }
            assert_eq!(plane.hash, wanted, "seed {seed}, plane {i}");
            let told = plane.link.as_ref().map(|link| link.inlet.hash().to_owned());
            assert_eq!(told, Some(wanted.clone()), "seed {seed}, plane {i}");
        }
    }

    /// Something happens.
    fn step(&mut self) {
        let i = self.rng.random_range(0..PLANES);
        let k = self.rng.random_range(0..CONTROLS);
        match self.rng.random_range(0..200) {
            0..8 if self.head.seq.0 < 200 => self.publish(k),
            8..20 => self.tail(k),
            20..24 => self.control_crashes(k),
            // A connection breaks: what was under way is cut off, and the cache is what is left.
            24..32 => self.planes[i].link = None,
            // The process is killed, and somebody clears its prefix.
            32..34 => {
                self.planes[i].link = None;
                ZERO_HASH.clone_into(&mut self.planes[i].hash);
            }
            34..64 => {
                self.now += Duration::from_secs(self.rng.random_range(1..20));
                self.tick(i);
            }
            64..94 => self.finish(i),
            _ => self.deliver(i, true),
        }
    }
}

fn offer(head: &Arc<Head>) -> Offer {
    Offer { revision: 0, head: head.clone(), hold: None }
}

fn simulate(seed: u64) {
    let plane = |i: usize| Plane {
        link: None,
        hash: ZERO_HASH.to_owned(),
        refused: None,
        reports: i.is_multiple_of(2),
    };
    let head = Arc::new(Head::empty());
    let mut world = World {
        rng: StdRng::seed_from_u64(seed),
        now: Instant::now(),
        controls: std::array::from_fn(|_| Some(head.clone())),
        head,
        planes: (0..PLANES).map(plane).collect(),
    };
    for _ in 0..600 {
        world.step();
    }
    for k in 0..CONTROLS {
        world.controls[k].get_or_insert_with(|| world.head.clone());
        world.tail(k);
    }
    world.settle(seed);
}

#[test]
fn all_converge_after_any_weather() {
    for_each_seed(simulate);
}
