//! Many data planes and their control plane over a bad network: frames are lost, doubled, swapped,
//! cut off and late, and either side crashes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Timing;
use super::inlet::{self, Inlet};
use super::outlet::{self, Outlet};
use crate::domain::hash::ConfigHash;
use crate::promotion::view::Offer;
use crate::wire::kong::introduction::basic_info;
use crate::wire::kong::table::{ZERO_HASH, config_hash};
use crate::wire::kong::websocket::{Frame, Side};
use crate::writer::Head;

const LEN_MAX: usize = 1 << 20;

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
    outlet: Outlet,
    inlet: Inlet,
    up: Way,
    down: Way,
    /// What the data plane puts in force now.
    applying: Option<Bytes>,
    /// The newest that came.
    newest: Option<Bytes>,
    /// Whether the network swapped or doubled a configuration.
    disordered: bool,
}

struct Plane {
    link: Option<Link>,
    /// In its cache.
    hash: String,
    seq: u64,
}

struct World {
    rng: StdRng,
    now: Instant,
    head: Arc<Head>,
    published: Vec<u64>,
    planes: Vec<Plane>,
}

fn hash_of(seq: u64) -> ConfigHash {
    // Every third config is one that was there before, as after a rollback.
    ConfigHash([if seq.is_multiple_of(3) { seq / 2 } else { seq } as u8; 32])
}

fn message(seq: u64) -> Bytes {
    Bytes::from(format!("{seq:0>300}"))
}

fn seq_of(message: &[u8]) -> u64 {
    std::str::from_utf8(message).unwrap().parse().unwrap()
}

impl World {
    fn offer(&self) -> Offer {
        Offer { revision: 0, head: self.head.clone(), hold: None }
    }

    fn publish(&mut self) {
        let seq = self.head.seq.next();
        let config_hash = hash_of(seq.0);
        self.head = Arc::new(Head { seq, config_hash, ..Head::empty() });
        self.published.push(seq.0);
        for i in 0..self.planes.len() {
            let (offer, now) = (self.offer(), self.now);
            if let Some(link) = &mut self.planes[i].link {
                let actions = link.outlet.offer(offer, now);
                self.control_does(i, actions);
            }
        }
    }

    fn connect(&mut self, i: usize) {
        let info = basic_info(&Default::default(), &Default::default(), &Default::default());
        let mut outlet = Outlet::new(Timing::default(), self.now);
        outlet.offer(self.offer(), self.now);
        let hash = self.planes[i].hash.clone();
        let (inlet, first) = Inlet::new(Timing::default(), info.into(), hash, self.now);
        self.planes[i].link = Some(Link {
            outlet,
            inlet,
            up: Way::default(),
            down: Way::default(),
            applying: None,
            newest: None,
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
                    assert_eq!(offer.head.seq, self.head.seq, "an old one is sent");
                    link.down.frames.push(Frame::Binary(message(offer.head.seq.0)));
                    Vec::new()
                }
                outlet::Action::Pong => {
                    link.down.frames.push(Frame::Pong(Bytes::new()));
                    Vec::new()
                }
                outlet::Action::Pinged { .. } | outlet::Action::Failed(_) => Vec::new(),
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

    /// What was being put in force is served.
    fn finish(&mut self, i: usize) {
        let now = self.now;
        let plane = &mut self.planes[i];
        let Some(link) = &mut plane.link else { return };
        let Some(message) = link.applying.take() else { return };
        let seq = seq_of(&message);
        assert!(self.published.contains(&seq), "never published");
        assert!(link.disordered || seq >= plane.seq, "it falls though nothing was swapped");
        plane.seq = seq;
        plane.hash = config_hash(hash_of(seq));
        let actions = link.inlet.applied(plane.hash.clone(), now);
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
            assert_eq!(plane.hash, wanted, "seed {seed}, plane {i}");
            let told = plane.link.as_ref().map(|link| link.inlet.hash().to_owned());
            assert_eq!(told, Some(wanted.clone()), "seed {seed}, plane {i}");
        }
    }
}

fn simulate(seed: u64) {
    let planes = (0..4).map(|_| Plane { link: None, hash: ZERO_HASH.to_owned(), seq: 0 }).collect();
    let mut world = World {
        rng: StdRng::seed_from_u64(seed),
        now: Instant::now(),
        head: Arc::new(Head::empty()),
        published: vec![0],
        planes,
    };
    for _ in 0..600 {
        let i = world.rng.random_range(0..world.planes.len());
        match world.rng.random_range(0..20) {
            0 if world.head.seq.0 < 200 => world.publish(),
            // A connection breaks: what was under way is cut off, and the cache is what is left.
            1 => world.planes[i].link = None,
            2 if world.rng.random_bool(0.1) => {
                world.planes.iter_mut().for_each(|plane| plane.link = None);
            }
            3..=5 => {
                world.now += Duration::from_secs(world.rng.random_range(1..20));
                world.tick(i);
            }
            6..=8 => world.finish(i),
            _ => world.deliver(i, true),
        }
    }
    world.settle(seed);
}

#[test]
fn all_converge_after_any_weather() {
    match std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => simulate(seed),
        None => (0..100).for_each(simulate),
    }
}
