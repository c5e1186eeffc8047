//! The fleet: which data plane runs which config, as the control plane last heard.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Whether it is connected now.
    pub connected: bool,
    /// How long the last head took from announcement to applied, in milliseconds.
    pub lag_ms: Option<u64>,
}

/// All data planes that were heard of, by node id.
#[derive(Debug, Default)]
pub struct Fleet {
    rows: Mutex<BTreeMap<Uuid, DataPlaneRow>>,
}

impl Fleet {
    /// Returns the rows in id order.
    pub fn rows(&self) -> Vec<DataPlaneRow> {
        self.lock().values().cloned().collect()
    }

    /// Writes the row of a data plane.
    pub fn record(&self, row: DataPlaneRow) {
        self.lock().insert(row.id, row);
    }

    // A writer cannot leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, DataPlaneRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
