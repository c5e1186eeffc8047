//! One follower against heads of every kind, and many of both sides against a bad network.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::*;
use crate::domain::event::Seq;
use crate::log::promotions::PromotionRow;
use crate::pki::ed25519::SigningKey;
use crate::promotion::decision::{Decision, Peer, Selector};
use crate::promotion::view::{Offer, View};
use crate::promotion::{self, order};
use crate::snapshot::head::Signer;
use crate::wire::session::publisher::{self, Publisher};
use crate::writer::Head;

struct ClusterKey {
    id: Uuid,
    key: SigningKey,
}

impl ClusterKey {
    fn new(id: u128) -> Self {
        Self { id: Uuid::from_u128(id), key: SigningKey::generate().unwrap() }
    }

    fn pin(&self) -> Pin {
        Pin { cluster_id: self.id, public_key: self.key.verify_key().to_string() }
    }

    fn head(&self, seq: u64, hash: u8) -> SignedHead {
        self.signed(Seq(seq), ConfigHash([hash; 32]))
    }

    fn signed(&self, seq: Seq, config_hash: ConfigHash) -> SignedHead {
        self.signed_in(0, seq, config_hash)
    }

    fn signed_in(&self, epoch: u64, seq: Seq, config_hash: ConfigHash) -> SignedHead {
        let signer = Signer { cluster_id: self.id, epoch, key: self.key.clone() };
        signer.sign(seq, config_hash).unwrap()
    }

    fn revised(&self, revision: u64, seq: Seq, config_hash: ConfigHash) -> SignedHead {
        let signer = Signer { cluster_id: self.id, epoch: 0, key: self.key.clone() };
        signer.sign_revised(revision, seq, config_hash).unwrap()
    }
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        node_id: Uuid::nil(),
        hostname: "h".into(),
        version: "3.9.1".into(),
        program_version: "0".into(),
        labels: Default::default(),
        plugins: Default::default(),
        applied: None,
        rejected: Vec::new(),
    }
}

fn follower(cluster: &ClusterKey, memory: Memory, now: Instant) -> Follower {
    let (mut follower, _) = Follower::new(Timing::default(), memory, hello(), now);
    let welcome = Welcome { protocol: PROTOCOL, pin: cluster.pin() };
    follower.frame(FromControl::Welcome(welcome), now);
    follower
}

fn obtained(actions: &[Action]) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        Action::Obtain { head, .. } => Some(head.seq.0),
        _ => None,
    })
}

#[test]
fn only_signed_newer_heads_of_the_pinned_cluster_are_believed() {
    let now = Instant::now();
    let (cluster, stranger) = (ClusterKey::new(1), ClusterKey::new(1));
    let applied = Position { epoch: 0, seq: Seq(5), config_hash: ConfigHash([5; 32]), revision: 0 };
    let memory =
        || Memory { pin: Some(cluster.pin()), applied: Some(applied), rejected: Vec::new() };
    let mut moved = cluster.head(6, 6);
    moved.seq = Seq(7);
    let mut foreign = cluster.head(6, 6);
    foreign.cluster_id = Uuid::from_u128(2);
    for head in [stranger.head(6, 6), moved, foreign, cluster.head(4, 4), cluster.head(5, 6)] {
        let actions = follower(&cluster, memory(), now).frame(FromControl::Head(head), now);
        assert!(matches!(actions[..], [Action::Distrust(..)]), "{actions:?}");
    }
    let actions =
        follower(&cluster, memory(), now).frame(FromControl::Head(cluster.head(6, 6)), now);
    assert_eq!(obtained(&actions), Some(6));
}

#[test]
fn an_older_copy_of_the_log_is_followed_in_a_new_epoch_only() {
    let now = Instant::now();
    let cluster = ClusterKey::new(1);
    let mut follower = follower(&cluster, Memory::default(), now);
    let (lost, copy) = (cluster.head(9, 9), cluster.head(4, 4));
    let follows = |follower: &mut Follower, head: SignedHead| {
        let obtains = obtained(&follower.frame(FromControl::Head(head), now)).is_some();
        if obtains {
            follower.applied(head, now);
        }
        obtains
    };
    assert!(follows(&mut follower, lost));
    assert!(!follows(&mut follower, copy), "in the same epoch it is a replay");
    let again = cluster.signed_in(1, copy.seq, copy.config_hash);
    assert!(!follows(&mut follower, SignedHead { epoch: 2, ..again }), "the epoch is signed");
    assert!(follows(&mut follower, again));
    let applied = follower.memory.applied.map(|p| (p.epoch, p.seq));
    assert_eq!(applied, Some((1, Seq(4))));
    assert!(!follows(&mut follower, cluster.head(10, 10)), "the life that ended is over");
    assert!(follows(&mut follower, cluster.signed_in(1, Seq(5), ConfigHash([5; 32]))));
}

#[test]
fn the_first_cluster_is_pinned_and_others_are_refused() {
    let now = Instant::now();
    let (cluster, other) = (ClusterKey::new(1), ClusterKey::new(2));
    let first = follower(&cluster, Memory::default(), now);
    assert_eq!(first.memory.pin, Some(cluster.pin()));
    let (mut second, _) = Follower::new(Timing::default(), first.memory, hello(), now);
    let welcome = Welcome { protocol: PROTOCOL, pin: other.pin() };
    let actions = second.frame(FromControl::Welcome(welcome), now);
    assert!(matches!(actions[..], [Action::Close(CloseReason::ForeignCluster { .. })]));
}

#[test]
fn a_head_with_the_config_that_is_served_needs_no_content() {
    let now = Instant::now();
    let cluster = ClusterKey::new(1);
    let mut follower = follower(&cluster, Memory::default(), now);
    follower.frame(FromControl::Head(cluster.head(1, 1)), now);
    follower.applied(cluster.head(1, 1), now);
    let actions = follower.frame(FromControl::Head(cluster.head(3, 1)), now);
    let sent = FromData::Applied(Position::from(cluster.head(3, 1)));
    assert!(
        matches!(&actions[..], [Action::Keep(head), Action::Send(applied)]
            if head.seq == Seq(3) && *applied == sent),
        "{actions:?}"
    );
    let again = follower.frame(FromControl::Head(cluster.head(3, 1)), now);
    assert!(matches!(again[..], [Action::Send(FromData::Applied(_))]), "it is kept: {again:?}");
}

#[test]
fn a_rejected_config_is_not_obtained_again() {
    let now = Instant::now();
    let cluster = ClusterKey::new(1);
    let mut follower = follower(&cluster, Memory::default(), now);
    follower.frame(FromControl::Head(cluster.head(1, 1)), now);
    let rejected = Rejected {
        config_hash: ConfigHash([1; 32]),
        phase: "compile".into(),
        entity: None,
        pointer: None,
        reason: "no".into(),
    };
    follower.rejected(rejected, now);
    let again = follower.frame(FromControl::Head(cluster.head(2, 1)), now);
    assert!(matches!(again[..], [Action::Send(FromData::Rejected(_))]));
    assert_eq!(obtained(&follower.frame(FromControl::Head(cluster.head(3, 3)), now)), Some(3));
    follower.applied(cluster.head(3, 3), now);
    let back = follower.frame(FromControl::Head(cluster.head(4, 1)), now);
    assert!(matches!(back[..], [Action::Send(FromData::Rejected(_))]), "{back:?}");
    let (_, first) = Follower::new(Timing::default(), follower.memory, hello(), now);
    let tells = |hello: &Hello| hello.rejected.iter().any(|it| it.config_hash.0 == [1; 32]);
    assert!(matches!(first, Action::Send(FromData::Hello(hello)) if tells(&hello)));
}

#[test]
fn the_newest_of_several_heads_is_obtained_next() {
    let now = Instant::now();
    let cluster = ClusterKey::new(1);
    let mut follower = follower(&cluster, Memory::default(), now);
    for seq in 1..=4 {
        follower.frame(FromControl::Head(cluster.head(seq, seq as u8)), now);
    }
    assert_eq!(obtained(&follower.applied(cluster.head(1, 1), now)), Some(4));
}

#[test]
fn a_head_of_an_older_revision_is_a_replay() {
    let now = Instant::now();
    let cluster = ClusterKey::new(1);
    let hash = |n| ConfigHash([n; 32]);
    let mut follower = follower(&cluster, Memory::default(), now);
    let (newest, pinned) = (cluster.head(9, 9), cluster.revised(1, Seq(5), hash(5)));
    follower.frame(FromControl::Head(newest), now);
    follower.applied(newest, now);
    assert_eq!(obtained(&follower.frame(FromControl::Head(pinned), now)), Some(5));
    follower.applied(pinned, now);
    let replayed = follower.frame(FromControl::Head(newest), now);
    assert!(matches!(replayed[..], [Action::Distrust(..)]), "{replayed:?}");
    let unpinned = cluster.revised(2, Seq(9), hash(9));
    assert_eq!(obtained(&follower.frame(FromControl::Head(unpinned), now)), Some(9));
    follower.applied(unpinned, now);
    let replayed = follower.frame(FromControl::Head(pinned), now);
    assert!(matches!(replayed[..], [Action::Distrust(..)]), "{replayed:?}");
}

/// One data plane and its link in the simulation.
struct Plane {
    labels: BTreeMap<String, String>,
    memory: Memory,
    link: Option<(Publisher, Follower)>,
    up: VecDeque<FromData>,
    down: VecDeque<FromControl>,
}

struct World {
    cluster: ClusterKey,
    rng: StdRng,
    now: Instant,
    head: Arc<Head>,
    published: Vec<ConfigHash>,
    view: View,
    planes: Vec<Plane>,
}

impl World {
    fn publish(&mut self) {
        let seq = self.head.seq.next();
        // Some heads bring back an earlier config.
        let config_hash = match self.rng.random_bool(0.3) && !self.published.is_empty() {
            true => self.published[self.rng.random_range(0..self.published.len())],
            false => ConfigHash([seq.0 as u8; 32]),
        };
        self.published.push(config_hash);
        self.head = Arc::new(Head { seq, config_hash, ..Head::empty() });
        self.view.heads.insert(seq, self.head.clone());
        self.offer();
    }

    /// Tells every session what its data plane is to get.
    fn offer(&mut self) {
        for i in 0..self.planes.len() {
            let offer = self.offer_for(i);
            let now = self.now;
            if let Some((publisher, _)) = &mut self.planes[i].link {
                let actions = publisher.offer(offer, now);
                self.control_does(i, actions);
            }
        }
    }

    fn offer_for(&self, i: usize) -> Offer {
        let peer = Peer { id: Uuid::from_u128(i as u128), labels: self.planes[i].labels.clone() };
        self.view.offer(&peer, &self.head, None).unwrap()
    }

    fn decide(&mut self, decision: &Decision) {
        self.view.state.fold(&PromotionRow {
            id: self.view.state.tip + 1,
            at: Default::default(),
            actor: String::new(),
            source: String::new(),
            reason: None,
            decision: serde_json::to_string(decision).unwrap(),
        });
        self.offer();
    }

    /// An operator freezes, unfreezes, pins or unpins.
    fn order(&mut self) {
        let newest = promotion::decision::Position::of(&self.head);
        let any = self.rng.random_range(0..=self.head.seq.0);
        let at = promotion::decision::Position::of(&self.view.heads[&Seq(any)]);
        let state = &self.view.state;
        let decision = match self.rng.random_range(0..4) {
            0 => order::freeze(state, newest, None).unwrap(),
            1 => order::unfreeze(state),
            2 => {
                let labels = BTreeMap::from([("tier".to_owned(), "edge".to_owned())]);
                let who = match self.rng.random_bool(0.5) {
                    true => Selector::Labels(labels),
                    false => Selector::NodeId(Uuid::from_u128(self.rng.random_range(0..4))),
                };
                order::pin(state, who, at).unwrap()
            }
            _ => state.pins.keys().next().and_then(|pin| order::unpin(state, *pin).unwrap()),
        };
        if let Some(decision) = decision {
            self.decide(&decision);
        }
    }

    fn connect(&mut self, i: usize) {
        let (now, timing) = (self.now, Timing::default());
        if self.rng.random_bool(0.5) {
            let tier = if self.rng.random_bool(0.5) { "edge" } else { "core" };
            self.planes[i].labels = BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        }
        let offer = self.offer_for(i);
        let mut publisher = Publisher::new(timing, now);
        publisher.offer(offer, now);
        let plane = &mut self.planes[i];
        let (follower, first) = Follower::new(timing, plane.memory.clone(), hello(), now);
        plane.link = Some((publisher, follower));
        plane.up.clear();
        plane.down.clear();
        self.data_does(i, vec![first]);
    }

    fn disconnect(&mut self, i: usize) {
        let plane = &mut self.planes[i];
        if let Some((_, follower)) = plane.link.take() {
            plane.memory = follower.memory;
        }
    }

    fn control_does(&mut self, i: usize, actions: Vec<publisher::Action>) {
        for action in actions {
            match action {
                publisher::Action::Welcome => {
                    let welcome = Welcome { protocol: PROTOCOL, pin: self.cluster.pin() };
                    self.planes[i].down.push_back(FromControl::Welcome(welcome));
                }
                publisher::Action::Announce { offer, .. } => {
                    let (seq, hash) = (offer.head.seq, offer.head.config_hash);
                    let signed = self.cluster.revised(offer.revision, seq, hash);
                    self.planes[i].down.push_back(FromControl::Head(signed));
                }
                publisher::Action::Heartbeat => {
                    self.planes[i].down.push_back(FromControl::Heartbeat);
                }
                publisher::Action::Restate(revision) if self.view.state.revision == revision => {
                    self.decide(&Decision::Restated { node_id: Uuid::from_u128(i as u128) });
                }
                publisher::Action::Close(_) => self.disconnect(i),
                _ => {}
            }
        }
    }

    fn data_does(&mut self, i: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(frame) => self.planes[i].up.push_back(frame),
                Action::Obtain { head, .. } => {
                    assert!(self.published.contains(&head.config_hash), "never published");
                    let served = self.planes[i].link.as_ref().and_then(|l| l.1.memory.applied);
                    let order = |p: Position| (p.revision, p.seq) < (head.revision, head.seq);
                    assert!(served.is_none_or(order), "revision and seq fall");
                    let now = self.now;
                    if let Some((_, follower)) = &mut self.planes[i].link {
                        let actions = follower.applied(head, now);
                        self.data_does(i, actions);
                    }
                }
                Action::Close(_) => self.disconnect(i),
                Action::Pin(_) | Action::Keep(_) | Action::Distrust(..) => {}
            }
        }
    }

    /// Delivers the first frame of each queue; a bad network doubles, swaps and forgets.
    fn deliver(&mut self, i: usize, bad: bool) {
        let now = self.now;
        if bad && self.rng.random_bool(0.1) && self.planes[i].down.len() > 1 {
            self.planes[i].down.swap(0, 1);
        }
        let lost = bad && self.rng.random_bool(0.1);
        let doubled = bad && self.rng.random_bool(0.1);
        if let Some(frame) = self.planes[i].up.pop_front()
            && !lost
            && let Some((publisher, _)) = &mut self.planes[i].link
        {
            let actions = publisher.frame(frame, now);
            self.control_does(i, actions);
        }
        if let Some(frame) = self.planes[i].down.pop_front()
            && !lost
            && self.planes[i].link.is_some()
        {
            for _ in 0..=usize::from(doubled) {
                if let Some((_, follower)) = &mut self.planes[i].link {
                    let actions = follower.frame(frame.clone(), now);
                    self.data_does(i, actions);
                }
            }
        }
    }

    /// Time passes and nothing is lost, so that everyone gets where it is to be.
    fn settle(&mut self, seed: u64) {
        for _ in 0..200 {
            self.now += Duration::from_secs(5);
            for i in 0..self.planes.len() {
                self.tick(i);
                for _ in 0..8 {
                    self.deliver(i, false);
                }
            }
        }
        for (i, plane) in self.planes.iter().enumerate() {
            let served = plane.link.as_ref().and_then(|(_, follower)| follower.memory.applied);
            let wanted = self.offer_for(i).head.config_hash;
            assert_eq!(served.map(|p| p.config_hash), Some(wanted), "seed {seed}, plane {i}");
        }
    }

    fn tick(&mut self, i: usize) {
        let now = self.now;
        if let Some((publisher, follower)) = &mut self.planes[i].link {
            let (theirs, ours) = (publisher.tick(now), follower.tick(now));
            self.control_does(i, theirs);
            self.data_does(i, ours);
        } else {
            self.connect(i);
        }
    }
}

fn simulate(seed: u64) {
    let planes = (0..4).map(|_| Plane {
        labels: BTreeMap::new(),
        memory: Memory::default(),
        link: None,
        up: VecDeque::new(),
        down: VecDeque::new(),
    });
    let mut world = World {
        cluster: ClusterKey::new(1),
        rng: StdRng::seed_from_u64(seed),
        now: Instant::now(),
        head: Arc::new(Head::empty()),
        published: vec![Head::empty().config_hash],
        view: View::default(),
        planes: planes.collect(),
    };
    world.view.heads.insert(Seq(0), world.head.clone());
    for _ in 0..300 {
        let i = world.rng.random_range(0..world.planes.len());
        match world.rng.random_range(0..20) {
            0 if world.head.seq.0 < 200 => world.publish(),
            1 => world.disconnect(i),
            5 => world.order(),
            2..=4 => {
                world.now += Duration::from_secs(world.rng.random_range(1..20));
                world.tick(i);
            }
            _ => world.deliver(i, true),
        }
    }
    world.settle(seed);
    // Without freeze and pins everyone gets to the newest.
    let pins: Vec<_> = world.view.state.pins.keys().copied().collect();
    let unpinned = pins.into_iter().map(|pin| Decision::Unpinned { pin });
    for decision in unpinned.chain([Decision::Unfrozen]) {
        world.decide(&decision);
    }
    world.settle(seed);
    for plane in &world.planes {
        let served = plane.link.as_ref().and_then(|(_, follower)| follower.memory.applied);
        assert_eq!(served.map(|p| p.config_hash), Some(world.head.config_hash), "seed {seed}");
    }
}

#[test]
fn all_converge_after_any_weather() {
    match std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => simulate(seed),
        None => (0..100).for_each(simulate),
    }
}
