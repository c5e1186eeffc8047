//! The fleet: which data plane runs which config, as the control plane last heard.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;

/// What is known of one data plane (columns: reference hybrid.md, section 8.5).
#[derive(Clone, Debug, PartialEq)]
pub struct DataPlaneRow {
    /// Its node id.
    pub id: Uuid,
    /// The address it connects from.
    pub ip: IpAddr,
    /// Its host name.
    pub hostname: String,
    /// Its Kong version, or the Kong level that it implements.
    pub version: Option<String>,
    /// When it was last heard of.
    pub last_seen: DateTime<Utc>,
    /// How many seconds the row is kept after `last_seen`.
    pub ttl_seconds: u64,
    /// The hash it reported, in its dialect: ours has 64 characters, Kong's 32.
    pub config_hash: String,
    /// Whether it can be served: `normal`, `unknown`, or what is incompatible.
    pub sync_status: &'static str,
    /// When the row was last written.
    pub updated_at: DateTime<Utc>,
    /// Labels that its operator gave it.
    pub labels: BTreeMap<String, String>,
    /// When its certificate expires, in seconds since 1970.
    pub cert_expires_at: Option<i64>,
    /// The config that it applied last.
    pub applied_hash: Option<ConfigHash>,
    /// The log position of that config.
    pub applied_seq: Option<Seq>,
    /// Why it refused the newest head, if it did.
    pub rejected: Option<String>,
    /// The config that it refused last, and why; also when it has gone back since.
    pub refused: Option<Refused>,
    /// Whether it is connected now.
    pub connected: bool,
    /// How long the last head took from announcement to applied, in milliseconds.
    pub lag_ms: Option<u64>,
}

/// A config that a data plane refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The config.
    pub config_hash: ConfigHash,
    /// The revision under which it was announced.
    pub revision: u64,
    /// Why it was refused.
    pub reason: String,
}

/// Who comes: what a data plane tells of itself when it connects.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its node id.
    pub id: Uuid,
    /// The address it connects from.
    pub ip: IpAddr,
    /// Its host name.
    pub hostname: String,
    /// The Kong level that it implements.
    pub version: String,
    /// Labels that its operator gave it.
    pub labels: BTreeMap<String, String>,
    /// When its certificate expires.
    pub cert_expires_at: DateTime<Utc>,
    /// Whether it can be served, as [`DataPlaneRow::sync_status`].
    pub sync_status: &'static str,
    /// What it serves.
    pub applied: Option<(Seq, ConfigHash)>,
}

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
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    by_id: BTreeMap<Uuid, (u64, DataPlaneRow)>,
    visits: u64,
}

/// What stands for the hash of a data plane that serves nothing yet.
const NOTHING: &str = "00000000000000000000000000000000";

impl Fleet {
    /// Makes a fleet whose rows are kept for `ttl_seconds` after their data plane was last seen.
    pub fn new(ttl_seconds: u64) -> Self {
        Self { ttl_seconds, rows: Mutex::default() }
    }

    /// Returns the rows in id order.
    pub fn rows(&self) -> Vec<DataPlaneRow> {
        self.lock().by_id.values().map(|(_, row)| row.clone()).collect()
    }

    /// Writes the row of a data plane.
    pub fn record(&self, row: DataPlaneRow) {
        self.lock().by_id.insert(row.id, (0, row));
    }

    /// Forgets the data planes that were not seen for too long.
    pub fn expire(&self, now: DateTime<Utc>) {
        let keeps = |row: &DataPlaneRow| {
            let age = now.signed_duration_since(row.last_seen).num_seconds();
            row.connected || u64::try_from(age).is_ok_and(|age| age < row.ttl_seconds)
        };
        self.lock().by_id.retain(|_, (_, row)| keeps(row));
    }

    /// A data plane connected.
    pub fn joined(&self, arrival: Arrival, now: DateTime<Utc>) -> Visit {
        let mut rows = self.lock();
        rows.visits += 1;
        let visit = Visit { id: arrival.id, number: rows.visits };
        let row = DataPlaneRow {
            id: arrival.id,
            ip: arrival.ip,
            hostname: arrival.hostname,
            version: Some(arrival.version),
            last_seen: now,
            ttl_seconds: self.ttl_seconds,
            config_hash: hash_text(arrival.applied),
            sync_status: arrival.sync_status,
            updated_at: now,
            labels: arrival.labels,
            cert_expires_at: Some(arrival.cert_expires_at.timestamp()),
            applied_hash: arrival.applied.map(|(_, hash)| hash),
            applied_seq: arrival.applied.map(|(seq, _)| seq),
            rejected: None,
            refused: None,
            connected: true,
            lag_ms: None,
        };
        rows.by_id.insert(arrival.id, (visit.number, row));
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
        self.reported(visit, (&hash_text(applied), applied), lag, now);
    }

    /// A data plane serves what it calls by this hash; which config that is may not be known.
    pub fn reported(
        &self,
        visit: Visit,
        (hash, applied): (&str, Option<(Seq, ConfigHash)>),
        lag: Option<Duration>,
        now: DateTime<Utc>,
    ) {
        self.update(visit, now, |row| {
            hash.clone_into(&mut row.config_hash);
            row.applied_hash = applied.map(|(_, hash)| hash);
            row.applied_seq = applied.map(|(seq, _)| seq);
            let serves = |refused: &Refused| Some(refused.config_hash) == row.applied_hash;
            if row.refused.as_ref().is_some_and(serves) {
                row.refused = None;
            }
            if let Some(lag) = lag {
                row.lag_ms = u64::try_from(lag.as_millis()).ok();
                row.rejected = None;
            }
        });
    }

    /// A data plane could not serve a head.
    pub fn rejected(&self, visit: Visit, refused: Refused, now: DateTime<Utc>) {
        self.update(visit, now, |row| {
            row.rejected = Some(format!("{}: {}", refused.config_hash, refused.reason));
            row.refused = Some(refused);
        });
    }

    /// Whether a data plane can be served has changed.
    pub fn judged(&self, visit: Visit, sync_status: &'static str, now: DateTime<Utc>) {
        self.update(visit, now, |row| row.sync_status = sync_status);
    }

    /// A data plane's connection ended.
    pub fn left(&self, visit: Visit, now: DateTime<Utc>) {
        self.update(visit, now, |row| row.connected = false);
    }

    fn update(&self, visit: Visit, now: DateTime<Utc>, change: impl FnOnce(&mut DataPlaneRow)) {
        let mut rows = self.lock();
        if let Some((number, row)) = rows.by_id.get_mut(&visit.id)
            && *number == visit.number
        {
            row.last_seen = now;
            row.updated_at = now;
            change(row);
        }
    }

    // A writer cannot leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash_text(applied: Option<(Seq, ConfigHash)>) -> String {
    applied.map_or_else(|| NOTHING.to_owned(), |(_, hash)| hash.to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> Arrival {
        Arrival {
            id: Uuid::from_u128(1),
            ip: IpAddr::from([127, 0, 0, 1]),
            hostname: "dp".into(),
            version: "3.9.1".into(),
            labels: BTreeMap::new(),
            cert_expires_at: DateTime::UNIX_EPOCH,
            sync_status: "normal",
            applied: None,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap_or_default()
    }

    #[test]
    fn an_old_connection_does_not_speak_for_a_new_one() {
        let fleet = Fleet::new(60);
        let first = fleet.joined(arrival(), at(0));
        let second = fleet.joined(arrival(), at(1));
        fleet.left(first, at(2));
        assert!(fleet.rows().iter().all(|row| row.connected));
        fleet.left(second, at(3));
        assert!(fleet.rows().iter().all(|row| !row.connected));
    }

    #[test]
    fn a_row_tells_what_is_served_and_what_was_refused() {
        let fleet = Fleet::new(60);
        let visit = fleet.joined(arrival(), at(0));
        assert_eq!(fleet.rows()[0].config_hash, NOTHING);
        let config_hash = ConfigHash([2; 32]);
        fleet.rejected(visit, Refused { config_hash, revision: 0, reason: "no".into() }, at(1));
        assert!(fleet.rows()[0].rejected.as_ref().is_some_and(|text| text.ends_with(": no")));
        let lag = Some(Duration::from_millis(7));
        fleet.applied(visit, Some((Seq(3), ConfigHash([1; 32]))), lag, at(2));
        let row = &fleet.rows()[0];
        assert_eq!((row.lag_ms, &row.rejected, row.last_seen), (Some(7), &None, at(2)));
        assert_eq!(row.config_hash, "01".repeat(32));
    }

    #[test]
    fn rows_of_the_gone_expire() {
        let fleet = Fleet::new(60);
        let visit = fleet.joined(arrival(), at(0));
        fleet.expire(at(1000));
        assert_eq!(fleet.rows().len(), 1, "a connected one stays");
        fleet.left(visit, at(1000));
        fleet.expire(at(1059));
        assert_eq!(fleet.rows().len(), 1);
        fleet.expire(at(1060));
        assert!(fleet.rows().is_empty());
    }
}
