//! Which control planes of a database are alive: those whose beat goes on growing while we look.
//!
//! Only this machine's own clock is asked, and only for how long a beat has stood still.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::row::ControlPlane;
use crate::log::fleet::ControlPlaneRow;

/// How long a beat may stand still before its control plane counts as gone.
const STANDSTILL_MAX: Duration = Duration::from_secs(15);

/// How long after that it is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The control planes of a database, as far as they were seen.
#[derive(Debug, Default)]
pub(super) struct Leases {
    known: BTreeMap<Uuid, Lease>,
    blind: bool,
}

#[derive(Debug)]
struct Lease {
    row: ControlPlaneRow,
    beaten_at: Instant,
    is_gone: bool,
}

impl Leases {
    /// Takes in what the database has now.
    pub(super) fn look(&mut self, rows: Vec<ControlPlaneRow>, now: Instant) {
        // What happened while nobody could look is not held against anybody.
        let was_blind = std::mem::take(&mut self.blind);
        let mut known = BTreeMap::new();
        for row in rows {
            let old = self.known.get(&row.id).filter(|old| old.row.beat == row.beat && !was_blind);
            let beaten_at = old.map_or(now, |old| old.beaten_at);
            let is_gone = now.duration_since(beaten_at) > STANDSTILL_MAX;
            known.insert(row.id, Lease { row, beaten_at, is_gone });
        }
        self.known = known;
    }

    /// The database could not be looked at.
    pub(super) fn look_failed(&mut self) {
        self.blind = true;
    }

    /// Returns a control plane if it is alive.
    pub(super) fn alive(&self, id: Uuid) -> Option<ControlPlane> {
        let lease = self.known.get(&id).filter(|lease| !lease.is_gone)?;
        let ControlPlaneRow { node_id, hostname, .. } = lease.row.clone();
        Some(ControlPlane { node_id, hostname })
    }

    /// Returns those that have been gone for long.
    pub(super) fn forgettable(&self, now: Instant) -> Vec<ControlPlaneRow> {
        let is_long_gone =
            |lease: &&Lease| now.duration_since(lease.beaten_at) > STANDSTILL_MAX + FORGET_AFTER;
        self.known.values().filter(is_long_gone).map(|lease| lease.row.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(beat: u64) -> Vec<ControlPlaneRow> {
        let (id, hostname) = (Uuid::from_u128(1), "cp".to_owned());
        vec![ControlPlaneRow { id, node_id: Uuid::from_u128(2), hostname, beat }]
    }

    #[test]
    fn a_control_plane_is_gone_when_its_beat_stands_still_or_its_row_is_gone() {
        let (start, id) = (Instant::now(), Uuid::from_u128(1));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut leases = Leases::default();
        assert_eq!(leases.alive(id), None);
        for (beats, seconds, is_alive) in [
            (7, 0, true),
            (7, 15, true),
            (8, 16, true),
            (8, 31, true),
            (8, 32, false),
            (9, 33, true),
        ] {
            leases.look(beat(beats), at(seconds));
            assert_eq!(leases.alive(id).is_some(), is_alive, "at {seconds}");
        }
        leases.look(Vec::new(), at(34));
        assert_eq!(leases.alive(id), None);
    }

    #[test]
    fn an_outage_of_the_database_is_held_against_nobody() {
        let (start, id) = (Instant::now(), Uuid::from_u128(1));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut leases = Leases::default();
        leases.look(beat(7), at(0));
        leases.look_failed();
        leases.look(beat(7), at(100));
        assert!(leases.alive(id).is_some());
        leases.look(beat(7), at(116));
        assert!(leases.alive(id).is_none());
        assert!(leases.forgettable(at(700)).is_empty());
        assert_eq!(leases.forgettable(at(800)), beat(7));
    }
}
