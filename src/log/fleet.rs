//! What the database keeps of the fleet: data planes as their control planes last heard them, and
//! which control planes run.
//!
//! It is no history: rows replace each other and expire. Times in it are shown, and say when a row
//! expires; they never decide who was first.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::StorageError;

/// A data plane as a control plane last heard it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataPlaneRow {
    /// The id that the data plane calls itself by.
    pub id: Uuid,
    /// What is known of it, as JSON that its writer understands.
    pub row: String,
    /// When it is to be forgotten unless it is heard again.
    pub expires_at: DateTime<Utc>,
    /// The control plane that stored it; none in rows of releases that did not say.
    pub heard_by: Option<Uuid>,
    /// Grows with each time that rows are stored.
    pub revision: u64,
}

/// What a control plane has to tell of a data plane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataPlaneNews {
    /// The data plane.
    pub id: Uuid,
    /// What is known of it, as JSON.
    pub row: String,
    /// When it is to be forgotten unless it is heard again.
    pub expires_at: DateTime<Utc>,
    /// Whether it spoke. What it said replaces what any control plane knew; that it fell silent
    /// replaces only what this control plane stored: it may speak to another one.
    pub spoke: bool,
}

/// A control plane that runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlPlaneRow {
    /// Its id, drawn at its start.
    pub id: Uuid,
    /// The id of its node.
    pub node_id: Uuid,
    /// The name of its host.
    pub hostname: String,
    /// Grows while it runs.
    pub beat: u64,
}

/// A database that holds the fleet.
#[async_trait]
pub trait FleetStore: Send + Sync + std::fmt::Debug {
    /// Stores that a control plane runs, and what it has to tell; all or nothing.
    async fn share(
        &self,
        control_plane: &ControlPlaneRow,
        news: &[DataPlaneNews],
    ) -> Result<(), StorageError>;

    /// Returns the data planes whose rows were stored after a revision, in that order; all of them
    /// without one.
    async fn data_planes(&self, after: Option<u64>) -> Result<Vec<DataPlaneRow>, StorageError>;

    /// Returns the control planes.
    async fn control_planes(&self) -> Result<Vec<ControlPlaneRow>, StorageError>;

    /// Forgets the data planes that have expired; returns how many.
    async fn purge_data_planes(&self, now: DateTime<Utc>) -> Result<u64, StorageError>;

    /// Forgets a control plane, unless its beat has grown.
    async fn forget_control_plane(&self, gone: &ControlPlaneRow) -> Result<(), StorageError>;
}
