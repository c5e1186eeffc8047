//! One follower against heads of every kind.

use uuid::Uuid;

use super::*;
use crate::domain::event::Seq;
use crate::pki::ed25519::SigningKey;
use crate::snapshot::head::Signer;

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
fn a_rollback_to_what_is_served_does_not_make_a_rejected_config_worth_a_try() {
    let now = Instant::now();
    let cluster = ClusterKey::new(1);
    let mut follower = follower(&cluster, Memory::default(), now);
    let next = |follower: &mut Follower, seq, hash| {
        obtained(&follower.frame(FromControl::Head(cluster.head(seq, hash)), now))
    };
    assert_eq!(next(&mut follower, 1, 1), Some(1));
    follower.applied(cluster.head(1, 1), now);
    assert_eq!(next(&mut follower, 2, 2), Some(2));
    let rejected = Rejected {
        config_hash: ConfigHash([2; 32]),
        phase: "compile".into(),
        entity: None,
        pointer: None,
        reason: "no".into(),
    };
    follower.rejected(rejected, now);
    assert_eq!(next(&mut follower, 3, 1), None, "it serves that");
    assert_eq!(follower.memory.applied.map(|it| it.seq), Some(Seq(3)));
    assert_eq!(next(&mut follower, 4, 2), None);
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
