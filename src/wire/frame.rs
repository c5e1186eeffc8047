//! The frames of the native dialect: JSON texts over a WebSocket, each with a `type`.
//!
//! A type that is unknown here is skipped, so that either side may be newer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::snapshot::head::{SignedHead, is_first_epoch};

/// The version of the dialect; a peer with another one is refused.
pub const PROTOCOL: u32 = 1;

/// What a data plane sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromData {
    /// The first frame.
    Hello(Box<Hello>),
    /// A head is served now.
    Applied(Position),
    /// A head is not served, and why; the last good one is.
    Rejected(Rejected),
    /// Still here, serving this.
    Heartbeat {
        /// What is served; nothing before the first head.
        applied: Option<Position>,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a control plane sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromControl {
    /// The answer to a hello.
    Welcome(Welcome),
    /// A new head; its content is fetched by hash.
    Head(SignedHead),
    /// A new head, and how to get there from what the data plane serves.
    Delta(Delta),
    /// Still here.
    Heartbeat,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A log position and the config there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which life of the log; 0, the first one, is not written.
    #[serde(default, skip_serializing_if = "is_first_epoch")]
    pub epoch: u64,
    /// The position.
    pub seq: Seq,
    /// The config.
    pub config_hash: ConfigHash,
    /// The revision of the head that said so.
    #[serde(default)]
    pub revision: u64,
}

impl From<SignedHead> for Position {
    fn from(head: SignedHead) -> Self {
        let SignedHead { epoch, seq, config_hash, revision, .. } = head;
        Self { epoch, seq, config_hash, revision }
    }
}

/// Who a data plane is and what it serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The node's id.
    pub node_id: Uuid,
    /// Its host name.
    pub hostname: String,
    /// The Kong level that it implements.
    pub version: String,
    /// The program's own version.
    pub program_version: String,
    /// The labels that its operator gave it.
    pub labels: BTreeMap<String, String>,
    /// The plugins that it can run, with their versions.
    pub plugins: BTreeMap<String, String>,
    /// What it serves.
    pub applied: Option<Position>,
    /// What it refuses, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
}

/// Which cluster a control plane belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The cluster, and the key that signs its heads.
    pub pin: Pin,
}

/// What a data plane keeps of its cluster from the first contact on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The cluster's id.
    pub cluster_id: Uuid,
    /// The ed25519 key that its heads are signed with, in hex.
    pub public_key: String,
}

/// The changes from one config to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// The config that the changes apply to.
    pub from: ConfigHash,
    /// The head that they lead to.
    pub head: SignedHead,
    /// As [`encode_changes`](crate::domain::event::encode_changes) writes them: a text within the
    /// frame, so that it is neither parsed nor encoded twice on the way.
    pub changes: String,
}

/// Why a head is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Which config.
    pub config_hash: ConfigHash,
    /// Where it failed: `verify`, `compile`, or `crash` when it ended the process.
    pub phase: String,
    /// The entity at fault, as `kind id`.
    pub entity: Option<String>,
    /// Where in the entity, as a JSON pointer.
    pub pointer: Option<String>,
    /// What is wrong.
    pub reason: String,
}
