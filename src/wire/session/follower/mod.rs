//! The data plane's side of one session: which heads to believe, and which to obtain.
//!
//! Invariants:
//! - a head is believed if its cluster is the pinned one, its signature verifies and it is newer
//!   than what is served, by epoch, then by revision, then by position;
//! - one head is obtained at a time; newer ones replace each other in one slot;
//! - a config that was rejected is not obtained again.

use std::time::Instant;

use super::CloseReason;
use super::publisher::Timing;
use crate::domain::hash::ConfigHash;
use crate::pki::ed25519::VerifyKey;
use crate::snapshot::head::SignedHead;
use crate::wire::frame::{
    Delta, FromControl, FromData, Hello, PROTOCOL, Pin, Position, Rejected, Welcome,
};

/// What a data plane knows from session to session.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The cluster that it belongs to; none before the first contact.
    pub pin: Option<Pin>,
    /// What it serves.
    pub applied: Option<Position>,
    /// What it could not serve, the latest last.
    pub rejected: Vec<Rejected>,
}

/// How many configs are remembered as rejected.
const REJECTED_MAX: usize = 16;

/// What the driver has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a frame.
    Send(FromData),
    /// Keep the pin for ever.
    Pin(Pin),
    /// Obtain, verify and apply a head, then call [`Follower::applied`] or [`Follower::rejected`].
    Obtain {
        /// The head.
        head: SignedHead,
        /// How to get there from what is served, if the control plane said.
        delta: Option<Box<Delta>>,
    },
    /// Keep a newer head of the config that is served, so that older ones are refused after a
    /// restart, too.
    Keep(SignedHead),
    /// Log that a head was not believed.
    Distrust(&'static str, SignedHead),
    /// End the session.
    Close(CloseReason),
}

/// One session.
#[derive(Debug)]
pub struct Follower {
    timing: Timing,
    /// What outlives the session.
    pub memory: Memory,
    welcomed: bool,
    obtaining: Option<SignedHead>,
    /// The one slot.
    next: Option<(SignedHead, Option<Box<Delta>>)>,
    heard_at: Instant,
    spoke_at: Instant,
}

impl Follower {
    /// Begins a session; returns it with the hello to send.
    pub fn new(timing: Timing, memory: Memory, mut hello: Hello, now: Instant) -> (Self, Action) {
        hello.applied = memory.applied;
        hello.rejected.clone_from(&memory.rejected);
        let follower = Self {
            timing,
            memory,
            welcomed: false,
            obtaining: None,
            next: None,
            heard_at: now,
            spoke_at: now,
        };
        (follower, Action::Send(FromData::Hello(Box::new(hello))))
    }

    /// A frame came.
    pub fn frame(&mut self, frame: FromControl, now: Instant) -> Vec<Action> {
        self.heard_at = now;
        match frame {
            FromControl::Welcome(welcome) => self.welcome(welcome),
            FromControl::Head(head) => self.head(head, None, now),
            FromControl::Delta(delta) => self.head(delta.head, Some(Box::new(delta)), now),
            FromControl::Heartbeat | FromControl::Unknown => Vec::new(),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        if now.duration_since(self.heard_at) > self.timing.silence_max {
            return vec![Action::Close(CloseReason::Silent)];
        }
        if self.welcomed && now.duration_since(self.spoke_at) >= self.timing.heartbeat {
            return vec![self.send(FromData::Heartbeat { applied: self.memory.applied }, now)];
        }
        Vec::new()
    }

    /// The head that was obtained is served.
    pub fn applied(&mut self, head: SignedHead, now: Instant) -> Vec<Action> {
        let position = Position::from(head);
        self.memory.applied = Some(position);
        self.settled(FromData::Applied(position), now)
    }

    /// The head that was obtained cannot be served.
    pub fn rejected(&mut self, rejected: Rejected, now: Instant) -> Vec<Action> {
        let known = &mut self.memory.rejected;
        known.retain(|known| known.config_hash != rejected.config_hash);
        if known.len() >= REJECTED_MAX {
            known.remove(0);
        }
        known.push(rejected.clone());
        self.settled(FromData::Rejected(rejected), now)
    }

    fn settled(&mut self, answer: FromData, now: Instant) -> Vec<Action> {
        self.obtaining = None;
        let mut actions = vec![self.send(answer, now)];
        if let Some((head, delta)) = self.next.take() {
            actions.extend(self.head(head, delta, now));
        }
        actions
    }

    fn welcome(&mut self, welcome: Welcome) -> Vec<Action> {
        if welcome.protocol != PROTOCOL {
            let reason = CloseReason::Protocol { theirs: welcome.protocol, ours: PROTOCOL };
            return vec![Action::Close(reason)];
        }
        self.welcomed = true;
        match &self.memory.pin {
            Some(pin) if *pin == welcome.pin => Vec::new(),
            Some(pin) => {
                let (theirs, ours) = (welcome.pin.cluster_id, pin.cluster_id);
                vec![Action::Close(CloseReason::ForeignCluster { theirs, ours })]
            }
            None => {
                self.memory.pin = Some(welcome.pin.clone());
                vec![Action::Pin(welcome.pin)]
            }
        }
    }

    fn head(&mut self, head: SignedHead, delta: Option<Box<Delta>>, now: Instant) -> Vec<Action> {
        let Some(pin) = self.memory.pin.as_ref().filter(|_| self.welcomed) else {
            let what = "a head before the welcome".to_owned();
            return vec![Action::Close(CloseReason::Violation(what))];
        };
        if let Err(why) = believe(pin, &head, self.memory.applied) {
            return vec![Action::Distrust(why, head)];
        }
        if self.obtaining.is_some() {
            self.next = Some((head, delta));
            return Vec::new();
        }
        if self.serves(head.config_hash) {
            let is_news = self.memory.applied != Some(Position::from(head));
            let keep = is_news.then_some(Action::Keep(head));
            return keep.into_iter().chain(self.applied(head, now)).collect();
        }
        let is_it = |rejected: &&Rejected| rejected.config_hash == head.config_hash;
        if let Some(rejected) = self.memory.rejected.iter().find(is_it).cloned() {
            return vec![self.send(FromData::Rejected(rejected), now)];
        }
        self.obtaining = Some(head);
        let serves = |hash| self.serves(hash);
        let delta = delta.filter(|delta| serves(delta.from));
        vec![Action::Obtain { head, delta }]
    }

    fn serves(&self, hash: ConfigHash) -> bool {
        self.memory.applied.is_some_and(|position| position.config_hash == hash)
    }

    fn send(&mut self, frame: FromData, now: Instant) -> Action {
        self.spoke_at = now;
        Action::Send(frame)
    }
}

/// Says whether a head is to be believed, or why not.
pub fn believe(
    pin: &Pin,
    head: &SignedHead,
    applied: Option<Position>,
) -> Result<(), &'static str> {
    if head.cluster_id != pin.cluster_id {
        return Err("it is of another cluster");
    }
    let key = VerifyKey::parse(&pin.public_key).map_err(|_| "the pinned key is damaged")?;
    key.verify(&head.signed_message(), &head.signature.0)
        .map_err(|_| "its signature does not verify")?;
    let served = applied.map(|p| (p.epoch, p.revision, p.seq, p.config_hash));
    if !head.may_follow(served) {
        return Err("its position is not newer than what is served");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
