//! What is in force, with the configs that are held at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decision::{Peer, Position};
use super::quarantine::Quarantine;
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
    /// Returns what a data plane is to get, which serves this; none while it is to stay where it
    /// is, be it that the config is not at hand.
    pub fn offer(
        &self,
        peer: &Peer,
        newest: &Arc<Head>,
        serves: Option<Position>,
    ) -> Option<Offer> {
        let revision = self.state.revision;
        let (position, hold) = match self.quarantine(peer, newest, serves) {
            None => self.assigned(peer, newest),
            Some(poisoned) => {
                let instead = self.state.quarantine.instead_of(poisoned, serves)?;
                (instead, Some(Hold::Quarantine))
            }
        };
        let known = self.heads.get(&position.seq).or(Some(newest));
        let head = known.filter(|head| Position::of(head) == position)?.clone();
        Some(Offer { revision, head, hold })
    }

    /// Returns what keeps a data plane from what it would get: somebody else crashed on it.
    pub fn quarantine(
        &self,
        peer: &Peer,
        newest: &Arc<Head>,
        serves: Option<Position>,
    ) -> Option<&Quarantine> {
        let (position, hold) = self.assigned(peer, newest);
        let has_it = serves.is_some_and(|it| it.config_hash == position.config_hash);
        let poisoned = self.state.quarantine.of(position.config_hash);
        poisoned.filter(|_| !has_it && !matches!(hold, Some(Hold::Pin(_))))
    }

    /// Returns what a data plane would get if nobody had crashed on it, and why it is not the
    /// newest head.
    pub fn assigned(&self, peer: &Peer, newest: &Arc<Head>) -> (Position, Option<Hold>) {
        match self.state.assign(peer) {
            Assignment::Newest => (Position::of(newest), None),
            Assignment::Held(position, hold) => (position, Some(hold)),
        }
    }
}
