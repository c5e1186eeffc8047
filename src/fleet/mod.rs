//! The fleet: which data plane runs which config, as control planes last heard.
//!
//! What this control plane hears is in memory and never waits for anything. A task of its own
//! ([`share`]) tells the database once a second, and learns from it what other control planes heard,
//! so each tells of all data planes, also after a restart.
//!
//! Invariants:
//! - who heard a data plane speak last has its row; that it fell silent is believed only of the
//!   control plane whose row it is;
//! - clocks of different machines are never compared to decide that;
//! - a connection that was replaced says nothing any more.

mod leases;
mod row;
pub mod share;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use self::leases::Leases;
pub use self::row::{
    Arrival, ControlPlane, DataPlaneRow, Dialect, Refused, SYNC_STATUSES, SyncStatus,
};
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::log::fleet::{self as stored, ControlPlaneRow, DataPlaneNews};

/// One connection of a data plane; a later one of the same data plane makes it void.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    id: Uuid,
    number: u64,
}

/// All data planes that were heard of, by node id.
#[derive(Debug)]
pub struct Fleet {
    ttl_seconds: u64,
    here: ControlPlane,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    by_id: BTreeMap<Uuid, Entry>,
    visits: u64,
    leases: Leases,
}

/// What is known of one data plane, from two sides.
#[derive(Debug, Default)]
struct Entry {
    /// What this control plane heard.
    own: Option<Own>,
    /// What another one stored, and which.
    other: Option<(Uuid, DataPlaneRow)>,
}

#[derive(Debug)]
struct Own {
    visit: u64,
    row: DataPlaneRow,
    /// Whether another control plane has heard the data plane later.
    is_superseded: bool,
    /// What the database has not been told.
    news: Option<News>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Spoke,
    Silent,
}

impl Fleet {
    /// Makes a fleet whose rows are kept for `ttl_seconds` after their data plane was last seen.
    pub fn new(ttl_seconds: u64) -> Self {
        Self { ttl_seconds, here: ControlPlane::default(), rows: Mutex::default() }
    }

    /// Returns it as that of a control plane, which is named in the rows of who is connected here.
    pub fn of(self, here: ControlPlane) -> Self {
        Self { here, ..self }
    }

    /// Returns the rows in id order, but for those that have expired.
    pub fn rows(&self, now: DateTime<Utc>) -> Vec<DataPlaneRow> {
        let rows = self.lock();
        let shown = rows.by_id.values().filter_map(|entry| self.shown(entry, &rows.leases));
        shown.filter(|row| !row.is_expired(now)).collect()
    }

    /// Returns the rows of the data planes that are connected to this control plane.
    pub fn connected_here(&self) -> Vec<DataPlaneRow> {
        let rows = self.lock();
        let own = rows.by_id.values().filter_map(|entry| entry.own.as_ref());
        own.filter(|own| own.row.connected && !own.is_superseded)
            .map(|own| own.row.clone())
            .collect()
    }

    /// Writes the row of a data plane.
    pub fn record(&self, row: DataPlaneRow) {
        self.lock().hear(0, row);
    }

    /// Forgets the data planes that have expired.
    pub fn expire(&self, now: DateTime<Utc>) {
        let mut rows = self.lock();
        let Rows { by_id, leases, .. } = &mut *rows;
        by_id.retain(|_, entry| self.shown(entry, leases).is_some_and(|row| !row.is_expired(now)));
    }

    /// A data plane connected.
    pub fn joined(&self, arrival: Arrival, now: DateTime<Utc>) -> Visit {
        let row = DataPlaneRow::of(arrival, self.ttl_seconds, now);
        let mut rows = self.lock();
        rows.visits += 1;
        let visit = Visit { id: row.id, number: rows.visits };
        rows.hear(visit.number, row);
        visit
    }

    /// A data plane serves this, or said so again.
    pub fn applied(
        &self,
        visit: Visit,
        applied: Option<(Seq, ConfigHash)>,
        lag: Option<Duration>,
        now: DateTime<Utc>,
    ) {
        self.serves(visit, (None, applied), lag, now);
    }

    /// A data plane serves what it calls by this hash; which config that is may not be known.
    pub fn reported(
        &self,
        visit: Visit,
        (hash, applied): (&str, Option<(Seq, ConfigHash)>),
        lag: Option<Duration>,
        now: DateTime<Utc>,
    ) {
        self.serves(visit, (Some(hash), applied), lag, now);
    }

    fn serves(
        &self,
        visit: Visit,
        (hash, applied): (Option<&str>, Option<(Seq, ConfigHash)>),
        lag: Option<Duration>,
        now: DateTime<Utc>,
    ) {
        self.update(visit, now, News::Spoke, |row| {
            let text = || row.dialect.hash_text(applied.map(|(_, hash)| hash));
            row.serves(hash.map_or_else(text, str::to_owned), applied);
            if let Some(lag) = lag {
                row.lag_ms = u64::try_from(lag.as_millis()).ok();
                row.rejected = None;
            }
        });
    }

    /// A data plane could not serve a head.
    pub fn rejected(&self, visit: Visit, refused: Refused, now: DateTime<Utc>) {
        self.update(visit, now, News::Spoke, |row| {
            row.rejected = Some(refused.clone());
            row.refused = Some(refused);
        });
    }

    /// Whether a data plane can be served has changed.
    pub fn judged(&self, visit: Visit, sync_status: SyncStatus, now: DateTime<Utc>) {
        self.update(visit, now, News::Spoke, |row| row.sync_status = sync_status);
    }

    /// A data plane's connection ended.
    pub fn left(&self, visit: Visit, now: DateTime<Utc>) {
        self.update(visit, now, News::Silent, |row| row.connected = false);
    }

    fn update(
        &self,
        visit: Visit,
        now: DateTime<Utc>,
        news: News,
        change: impl FnOnce(&mut DataPlaneRow),
    ) {
        let mut rows = self.lock();
        let own = rows.by_id.get_mut(&visit.id).and_then(|entry| entry.own.as_mut());
        if let Some(own) = own.filter(|own| own.visit == visit.number) {
            own.row.updated_at = now;
            change(&mut own.row);
            match news {
                News::Spoke => {
                    own.row.last_seen = now;
                    own.is_superseded = false;
                    own.news = Some(News::Spoke);
                }
                // What it said before that is still to be told.
                News::Silent => own.news = own.news.or(Some(News::Silent)),
            }
        }
    }

    /// Takes what the database has not been told yet.
    fn news(&self) -> Vec<DataPlaneNews> {
        let mut rows = self.lock();
        let mut taken = Vec::new();
        for own in rows.by_id.values_mut().filter_map(|entry| entry.own.as_mut()) {
            let Some(news) = own.news.take() else { continue };
            taken.push(DataPlaneNews {
                id: own.row.id,
                row: serde_json::to_string(&own.row).expect("a row is plain data"),
                expires_at: own.row.expires_at(),
                spoke: news == News::Spoke,
            });
        }
        taken
    }

    /// Takes news back that the database did not take.
    fn untold(&self, news: &[DataPlaneNews]) {
        let mut rows = self.lock();
        for it in news {
            let own = rows.by_id.get_mut(&it.id).and_then(|entry| entry.own.as_mut());
            if let Some(own) = own {
                let silent = own.news.or(Some(News::Silent));
                own.news = if it.spoke { Some(News::Spoke) } else { silent };
            }
        }
    }

    /// Takes in what the database has; `me` is the id that this control plane stores by.
    fn learn(
        &self,
        me: Uuid,
        planes: Vec<stored::DataPlaneRow>,
        control_planes: Vec<ControlPlaneRow>,
        now: Instant,
    ) {
        let mut rows = self.lock();
        rows.leases.look(control_planes, now);
        for plane in planes.into_iter().filter(|plane| plane.heard_by != Some(me)) {
            let Ok(row) = serde_json::from_str::<DataPlaneRow>(&plane.row) else {
                tracing::warn!(node_id = %plane.id, "a stored row of a data plane cannot be read");
                continue;
            };
            let row = DataPlaneRow { id: plane.id, ..row };
            let entry = rows.by_id.entry(plane.id).or_default();
            entry.heard_elsewhere(plane.heard_by.unwrap_or_default(), row);
        }
    }

    /// The database could not be looked at.
    fn look_failed(&self) {
        self.lock().leases.look_failed();
    }

    /// Returns the control planes that have been gone for long.
    fn long_gone(&self, now: Instant) -> Vec<ControlPlaneRow> {
        self.lock().leases.forgettable(now)
    }

    /// Returns the row as it stands.
    fn shown(&self, entry: &Entry, leases: &Leases) -> Option<DataPlaneRow> {
        let other = entry.other.as_ref().map(|(heard_by, row)| {
            let control_plane = leases.alive(*heard_by).filter(|_| row.connected);
            let connected = control_plane.is_some();
            DataPlaneRow { connected, control_plane, ..row.clone() }
        });
        let is_elsewhere = other.as_ref().is_some_and(|row| row.connected);
        let own = entry
            .own
            .as_ref()
            .filter(|own| !own.is_superseded || (own.row.connected && !is_elsewhere));
        let own = own.map(|own| {
            let control_plane = own.row.connected.then(|| self.here.clone());
            DataPlaneRow { control_plane, ..own.row.clone() }
        });
        own.or(other)
    }

    // A writer cannot leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn hear(&mut self, visit: u64, row: DataPlaneRow) {
        let entry = self.by_id.entry(row.id).or_default();
        entry.own = Some(Own { visit, row, is_superseded: false, news: Some(News::Spoke) });
    }
}

impl Entry {
    /// Another control plane has stored a row.
    fn heard_elsewhere(&mut self, heard_by: Uuid, row: DataPlaneRow) {
        if let Some(own) = &mut self.own
            && own.news != Some(News::Spoke)
        {
            own.is_superseded = true;
            own.news = None;
            if !own.row.connected {
                self.own = None;
            } else if !row.connected {
                // A connection that ended there says nothing about the one that is here.
                own.is_superseded = false;
                own.news = Some(News::Spoke);
            }
        }
        self.other = Some((heard_by, row));
    }
}
