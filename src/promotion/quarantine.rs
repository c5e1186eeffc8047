//! Configs that a data plane crashed on: nobody else gets them. Pure.
//!
//! Who runs such a config already goes on with it, and who is pinned to it gets it: that is an
//! operator's word. Everybody else stays where they are, or gets what came before. The next
//! config is announced as ever.

use uuid::Uuid;

use super::decision::{Decision, Position};
use super::state::Made;
use crate::domain::hash::ConfigHash;

/// How many configs are in quarantine at most, and how many are remembered as released.
const KEPT_MAX: usize = 32;

/// The least of a hash that names a config.
const PREFIX_MIN: usize = 8;

/// One config that a data plane crashed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The config.
    pub config_hash: ConfigHash,
    /// Which data plane.
    pub node_id: Uuid,
    /// What it said.
    pub why: String,
    /// What those get instead that have something older or nothing.
    pub instead: Option<Position>,
    /// When.
    pub made: Made,
}

/// All that are in quarantine, and what was released from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ward {
    kept: Vec<Quarantine>,
    released: Vec<ConfigHash>,
}

impl Ward {
    pub(super) fn apply(&mut self, decision: Decision, made: Made) {
        match decision {
            Decision::Quarantined { config_hash, node_id, why, instead } => {
                self.kept.retain(|it| it.config_hash != config_hash);
                push(&mut self.kept, Quarantine { config_hash, node_id, why, instead, made });
            }
            Decision::Released { config_hash } => {
                self.kept.retain(|it| it.config_hash != config_hash);
                self.released.retain(|hash| *hash != config_hash);
                push(&mut self.released, config_hash);
            }
            _ => {}
        }
    }

    /// Returns those in quarantine, the oldest first.
    pub fn all(&self) -> &[Quarantine] {
        &self.kept
    }

    /// Returns the quarantine of a config.
    pub fn of(&self, config_hash: ConfigHash) -> Option<&Quarantine> {
        self.kept.iter().find(|it| it.config_hash == config_hash)
    }

    /// Returns the quarantine of the config whose hash begins so; none where that is not clear.
    pub fn find(&self, start: &str) -> Option<&Quarantine> {
        let mut found = self.kept.iter().filter(|it| it.config_hash.to_hex().starts_with(start));
        found.next().filter(|_| start.len() >= PREFIX_MIN && found.next().is_none())
    }

    /// Returns whether a data plane's word is enough for a quarantine: not after an operator
    /// released the config.
    pub fn takes(&self, config_hash: ConfigHash) -> bool {
        self.of(config_hash).is_none() && !self.released.contains(&config_hash)
    }

    /// Returns what a data plane gets in place of a config in quarantine, none if it is to stay.
    /// `serves` is what it runs.
    pub fn instead_of(&self, poisoned: &Quarantine, serves: Option<Position>) -> Option<Position> {
        let mut instead = poisoned.instead?;
        for _ in 0..KEPT_MAX {
            match self.of(instead.config_hash) {
                Some(next) => instead = next.instead?,
                None => return (serves.is_none_or(|it| it.seq < instead.seq)).then_some(instead),
            }
        }
        None
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= KEPT_MAX {
        list.remove(0);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::domain::event::Seq;
    use crate::log::promotions::PromotionRow;
    use crate::promotion::decision::{Peer, Selector};
    use crate::promotion::order;
    use crate::promotion::state::Hold;
    use crate::promotion::view::View;
    use crate::writer::Head;

    fn position(seq: u64) -> Position {
        Position { seq: Seq(seq), config_hash: ConfigHash([seq as u8; 32]) }
    }

    fn head(seq: u64) -> Arc<Head> {
        let Position { seq, config_hash } = position(seq);
        Arc::new(Head { seq, config_hash, ..Head::empty() })
    }

    fn peer() -> Peer {
        Peer { id: Uuid::from_u128(1), labels: BTreeMap::new() }
    }

    fn decide(view: &mut View, decision: &Decision) {
        view.state.fold(&PromotionRow {
            id: view.state.tip + 1,
            at: Default::default(),
            actor: String::new(),
            source: String::new(),
            reason: None,
            decision: serde_json::to_string(decision).unwrap(),
        });
        let held = view.state.held();
        view.heads = held.iter().map(|it| (it.seq, head(it.seq.0))).collect();
    }

    /// Another data plane crashes on a config and goes back.
    fn crash(view: &mut View, on: u64, instead: Option<u64>) {
        let who = (Uuid::from_u128(9), "it crashed");
        let instead = instead.map(position);
        let hash = position(on).config_hash;
        let decision = order::quarantine(&view.state, hash, who, instead);
        decide(view, &decision.expect("it is news"));
    }

    fn offered(view: &View, newest: u64, serves: Option<u64>) -> Option<u64> {
        let offer = view.offer(&peer(), &head(newest), serves.map(position));
        offer.map(|offer| offer.head.seq.0)
    }

    #[test]
    fn a_config_that_one_crashed_on_is_kept_from_the_others() {
        let mut view = View::default();
        crash(&mut view, 5, Some(3));
        assert_eq!(offered(&view, 5, Some(5)), Some(5), "who runs it goes on");
        assert_eq!(offered(&view, 5, Some(4)), None, "who has something newer stays");
        assert_eq!(offered(&view, 5, Some(3)), None);
        assert_eq!(offered(&view, 5, Some(2)), Some(3));
        assert_eq!(offered(&view, 5, None), Some(3));
        let offer = view.offer(&peer(), &head(5), None).unwrap();
        assert_eq!((offer.hold, offer.revision), (Some(Hold::Quarantine), view.state.revision));
        assert_eq!(offered(&view, 6, Some(4)), Some(6), "a later head is offered");
    }

    #[test]
    fn what_came_before_may_be_in_quarantine_too() {
        let mut view = View::default();
        crash(&mut view, 3, Some(2));
        crash(&mut view, 5, Some(3));
        assert_eq!(offered(&view, 5, None), Some(2));
        crash(&mut view, 2, None);
        assert_eq!(offered(&view, 5, None), None);
    }

    #[test]
    fn an_operator_goes_before_a_data_plane() {
        let mut view = View::default();
        crash(&mut view, 5, Some(3));
        let pin = order::pin(&view.state, Selector::NodeId(peer().id), position(5)).unwrap();
        decide(&mut view, &pin.unwrap());
        assert_eq!(offered(&view, 5, Some(4)), Some(5), "a pin is meant");
        decide(&mut view, &Decision::Unpinned { pin: 2 });
        assert_eq!(offered(&view, 5, Some(4)), None);
        let hash = position(5).config_hash;
        let start = &hash.to_hex()[..8];
        assert!(view.state.quarantine.find(start).is_some());
        assert!(view.state.quarantine.find(&start[..7]).is_none());
        let release = order::release(&view.state, hash).unwrap();
        decide(&mut view, &release.unwrap());
        assert_eq!(offered(&view, 5, Some(4)), Some(5));
        let again = order::quarantine(&view.state, hash, (Uuid::from_u128(9), "again"), None);
        assert_eq!(again, None, "an operator knows better");
        assert_eq!(order::release(&view.state, hash), Err(order::Refusal::NotQuarantined(hash)));
    }
}
