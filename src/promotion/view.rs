//! What is in force, with the configs that are held at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decision::{Peer, Position};
use super::state::{Assignment, Hold, State};
use crate::domain::event::Seq;
use crate::writer::Head;

/// The decisions and the heads that they hold.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What is in force.
    pub state: State,
    /// The heads that are held, as far as they could be rebuilt.
    pub heads: BTreeMap<Seq, Arc<Head>>,
}

/// What is announced to one data plane.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What its head is signed with.
    pub revision: u64,
    /// The head.
    pub head: Arc<Head>,
    /// What holds it back from the newest head.
    pub hold: Option<Hold>,
}

impl Position {
    /// Returns the position and config of a head.
    pub fn of(head: &Head) -> Self {
        Self { seq: head.seq, config_hash: head.config_hash }
    }
}

impl View {
    /// Returns what a data plane is to get; none while the config is not at hand.
    pub fn offer(&self, peer: &Peer, newest: &Arc<Head>) -> Option<Offer> {
        let revision = self.state.revision;
        match self.state.assign(peer) {
            Assignment::Newest => Some(Offer { revision, head: newest.clone(), hold: None }),
            Assignment::Held(position, hold) => {
                let known = self.heads.get(&position.seq).or(Some(newest));
                let head = known.filter(|head| Position::of(head) == position)?.clone();
                Some(Offer { revision, head, hold: Some(hold) })
            }
        }
    }
}
