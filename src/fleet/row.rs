//! What is known of one data plane.

use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;

/// What is known of one data plane (columns: reference hybrid.md, section 8.5). Its JSON is what the
/// database keeps, for control planes of other releases too: a field that is added needs a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataPlaneRow {
    /// Its node id.
    #[serde(skip)]
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
    /// Whether it can be served: one of [`SYNC_STATUSES`].
    #[serde(deserialize_with = "sync_status")]
    pub sync_status: SyncStatus,
    /// When the row was last written.
    pub updated_at: DateTime<Utc>,
    /// Labels that its operator gave it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When its certificate expires, in seconds since 1970.
    pub cert_expires_at: Option<i64>,
    /// The config that it applied last.
    pub applied_hash: Option<ConfigHash>,
    /// The log position of that config.
    pub applied_seq: Option<Seq>,
    /// Why it refused the newest head, if it did.
    pub rejected: Option<Refused>,
    /// The config that it refused last, and why; also when it has gone back since.
    pub refused: Option<Refused>,
    /// Whether it is connected now.
    pub connected: bool,
    /// How long the last head took from announcement to applied, in milliseconds.
    pub lag_ms: Option<u64>,
    /// How it speaks to its control plane.
    #[serde(default)]
    pub dialect: Dialect,
    /// The control plane that it is connected to; known while both run.
    #[serde(skip)]
    pub control_plane: Option<ControlPlane>,
}

/// One of [`SYNC_STATUSES`].
pub type SyncStatus = &'static str;

/// The values of `sync_status` (reference hybrid.md, section 6).
pub const SYNC_STATUSES: [SyncStatus; 6] = [
    "unknown",
    "normal",
    "kong_version_incompatible",
    "plugin_set_incompatible",
    "plugin_version_incompatible",
    "filter_set_incompatible",
];

/// A language of the cluster link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Ours: heads, deltas, content by hash.
    #[default]
    Native,
    /// Kong's: the whole configuration at `/v1/outlet`.
    Kong,
}

/// A control plane, as its data planes' rows name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlane {
    /// The id of its node.
    pub node_id: Uuid,
    /// The name of its host.
    pub hostname: String,
}

/// A config that a data plane refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The config.
    pub config_hash: ConfigHash,
    /// The revision under which it was announced.
    pub revision: u64,
    /// Where it failed: `verify` or `compile`; `crash` if it brought the process down;
    /// `compatibility` or `send` if it was withheld; `apply` if a Kong data plane said no more.
    pub phase: String,
    /// The entity at fault, as `kind id`.
    pub entity: Option<String>,
    /// Where in the entity, as a JSON pointer.
    pub pointer: Option<String>,
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
    /// Whether it can be served: one of [`SYNC_STATUSES`].
    pub sync_status: SyncStatus,
    /// How it speaks.
    pub dialect: Dialect,
    /// What it serves.
    pub applied: Option<(Seq, ConfigHash)>,
}

/// What stands for the hash of a data plane that serves nothing yet.
pub(super) const NOTHING: &str = "00000000000000000000000000000000";

/// How much of a hash Kong's dialect has.
const KONG_HASH_LEN: usize = 32;

impl Refused {
    /// Makes one that is about no single entity.
    pub fn at(phase: &str, config_hash: ConfigHash, revision: u64, reason: String) -> Self {
        let phase = phase.to_owned();
        Self { config_hash, revision, phase, entity: None, pointer: None, reason }
    }
}

impl Dialect {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kong => "kong",
        }
    }

    /// Returns a hash as data planes that speak so report it.
    pub fn hash_text(self, applied: Option<ConfigHash>) -> String {
        let Some(hash) = applied else { return NOTHING.to_owned() };
        let mut text = hash.to_hex();
        if self == Self::Kong {
            text.truncate(KONG_HASH_LEN);
        }
        text
    }
}

impl DataPlaneRow {
    pub(super) fn of(arrival: Arrival, ttl_seconds: u64, now: DateTime<Utc>) -> Self {
        let hash = arrival.applied.map(|(_, hash)| hash);
        Self {
            id: arrival.id,
            ip: arrival.ip,
            hostname: arrival.hostname,
            version: Some(arrival.version),
            last_seen: now,
            ttl_seconds,
            config_hash: arrival.dialect.hash_text(hash),
            sync_status: arrival.sync_status,
            updated_at: now,
            labels: arrival.labels,
            cert_expires_at: Some(arrival.cert_expires_at.timestamp()),
            applied_hash: hash,
            applied_seq: arrival.applied.map(|(seq, _)| seq),
            rejected: None,
            refused: None,
            connected: true,
            lag_ms: None,
            dialect: arrival.dialect,
            control_plane: None,
        }
    }

    pub(super) fn serves(&mut self, hash: String, applied: Option<(Seq, ConfigHash)>) {
        self.applied_hash = applied.map(|(_, hash)| hash);
        self.applied_seq = applied.map(|(seq, _)| seq);
        self.config_hash = hash;
        let serves = |refused: &Refused| Some(refused.config_hash) == self.applied_hash;
        if self.refused.as_ref().is_some_and(serves) {
            self.refused = None;
        }
    }

    /// Returns when it is forgotten unless it is heard again.
    pub(super) fn expires_at(&self) -> DateTime<Utc> {
        let ttl = i64::try_from(self.ttl_seconds).ok().and_then(TimeDelta::try_seconds);
        let end = ttl.and_then(|ttl| self.last_seen.checked_add_signed(ttl));
        end.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Returns how many seconds are left until then; a clock that is behind adds none.
    pub fn seconds_left(&self, now: DateTime<Utc>) -> u64 {
        let age_seconds = (now - self.last_seen).num_seconds().max(0).unsigned_abs();
        self.ttl_seconds.saturating_sub(age_seconds)
    }

    pub(super) fn is_expired(&self, now: DateTime<Utc>) -> bool {
        !self.connected && self.seconds_left(now) == 0
    }
}

/// Takes a status that a newer release knows for an unknown one.
fn sync_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SyncStatus, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(SYNC_STATUSES.into_iter().find(|known| **known == text).unwrap_or("unknown"))
}
