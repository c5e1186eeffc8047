//! Decisions on promotion, as the database keeps them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;

/// A position of the log and the config there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The position.
    pub seq: Seq,
    /// The config.
    pub config_hash: ConfigHash,
}

/// Which data planes are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// The one with this id.
    NodeId(Uuid),
    /// All that have every one of these labels.
    Labels(BTreeMap<String, String>),
}

/// A data plane as far as selectors look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its node id.
    pub id: Uuid,
    /// Its labels (`cluster_dp_labels`).
    pub labels: BTreeMap<String, String>,
}

impl Selector {
    /// Returns whether a data plane is meant.
    pub fn matches(&self, peer: &Peer) -> bool {
        match self {
            Self::NodeId(id) => *id == peer.id,
            Self::Labels(labels) => has_all(&peer.labels, labels),
        }
    }

    /// Returns how closely a data plane is described: an id beats labels, more labels beat fewer.
    pub fn closeness(&self) -> usize {
        match self {
            Self::NodeId(_) => usize::MAX,
            Self::Labels(labels) => labels.len(),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NodeId(id) => write!(f, "{id}"),
            Self::Labels(labels) => {
                let pairs: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                f.write_str(&pairs.join(","))
            }
        }
    }
}

fn has_all(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The first data planes that get a new head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wave {
    /// So many, whichever are connected.
    Count(u32),
    /// All that have every one of these labels.
    Labels(BTreeMap<String, String>),
}

/// How heads are rolled out: wave by wave, at last to everyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The waves before the last one, which is everyone.
    pub waves: Vec<Wave>,
    /// How long all data planes of a wave must have served the head before the next wave.
    #[serde(default = "quiet_seconds")]
    pub quiet_seconds: u32,
    /// How long the data planes of a wave may take to serve the head.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u32,
}

fn quiet_seconds() -> u32 {
    30
}

fn timeout_seconds() -> u32 {
    300
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Decision {
    /// Nothing newer than this is announced.
    Frozen {
        /// The head that data planes receive.
        at: Position,
    },
    /// New heads are announced again.
    Unfrozen,
    /// Some data planes get this config, whatever the head is. An older pin of the same data
    /// planes is void.
    Pinned {
        /// Who.
        who: Selector,
        /// What they get.
        to: Position,
    },
    /// A pin is void.
    Unpinned {
        /// The number of the decision that made it.
        pin: u64,
    },
    /// New heads are rolled out by this plan, or at once if there is none.
    Planned {
        /// The plan.
        plan: Option<Plan>,
        /// What everyone has, and goes back to.
        good: Position,
    },
    /// A head is rolled out; one that is under way is given up for it.
    Began {
        /// The head.
        target: Position,
    },
    /// Data planes of the wave came, and did what it waits for.
    Reported {
        /// Those that are waited for from now on.
        joined: Vec<Uuid>,
        /// Those that serve the head.
        applied: Vec<Uuid>,
    },
    /// The next wave gets the head.
    Advanced,
    /// Everyone has got the head.
    Finished,
    /// The rollout is given up: who has got the head goes back.
    Stopped {
        /// Which data plane did not do as it should.
        node_id: Uuid,
        /// What it did.
        why: String,
    },
    /// Heads are signed anew, so that a data plane whose labels changed takes an older one.
    Restated {
        /// Which data plane.
        node_id: Uuid,
    },
    /// A data plane crashed on a config: it is announced to nobody else.
    Quarantined {
        /// The config.
        config_hash: ConfigHash,
        /// Which data plane.
        node_id: Uuid,
        /// What it said.
        why: String,
        /// What those get instead that have something older or nothing.
        instead: Option<Position>,
    },
    /// A config is announced again, whatever data planes say of it.
    Released {
        /// The config.
        config_hash: ConfigHash,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Decision {
    /// Returns whether data planes may have to go back to an older position by it.
    pub(super) fn revises(&self) -> bool {
        !matches!(self, Self::Reported { .. } | Self::Finished)
    }
}
