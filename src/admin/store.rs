//! The way to the log: reads from the head, writes through the writer, events of the past.

use std::sync::Arc;

use super::error::ApiError;
use super::read_only;
use crate::clock::Clock;
use crate::domain::config::Config;
use crate::domain::decide::{Decision, Fresh};
use crate::domain::entity::Entity;
use crate::domain::event::{Change, Event, Origin, Seq};
use crate::domain::rejection::Rejection;
use crate::log::moment::Moment;
use crate::log::row::RowError;
use crate::log::{AppendError, StorageError};
use crate::writer::history::AtError;
use crate::writer::{Head, RollbackError, WriteError, Writer};

/// An accepted write: what changes, and the entity to answer with.
#[derive(Clone, Default)]
pub(super) struct Decided {
    /// What changes; nothing is appended when this is empty.
    pub(super) changes: Vec<Change>,
    /// The entity as it is afterwards; none after a deletion.
    pub(super) entity: Option<Entity>,
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Self {
        Self { changes: decision.changes, entity: Some(decision.entity) }
    }
}

/// Which events of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventPage {
    /// The newest first, those before this position only.
    Before(Seq),
    /// The oldest first, those after this position only.
    After(Seq),
}

/// Why the log could not be used; writes fail while it lasts, reads go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An event could not be appended.
    #[error("cannot append to the event log")]
    Append(#[source] Arc<AppendError>),
    /// Events could not be read.
    #[error("cannot read the event log")]
    Read(#[from] StorageError),
    /// An event is not what this version writes.
    #[error("cannot read an event of the log")]
    Row(#[from] RowError),
    /// An earlier config could not be rebuilt.
    #[error("cannot rebuild an earlier config")]
    Rebuild(#[source] AtError),
    /// The node is shutting down.
    #[error("control plane is shutting down")]
    ShuttingDown,
}

/// Where reads come from and writes go.
#[derive(Clone)]
pub(super) struct Store {
    writer: Writer,
    clock: Clock,
    /// Whether entities are only ever replaced as a whole.
    read_only: bool,
}

impl Store {
    pub(super) fn new(writer: Writer, clock: Clock, read_only: bool) -> Self {
        Self { writer, clock, read_only }
    }

    /// Returns the newest head; what is read from one head fits together.
    pub(super) fn head(&self) -> Arc<Head> {
        self.writer.head()
    }

    /// Decides, appends, and returns the entity with the head that contains it. `decide` runs again
    /// when somebody else wrote first.
    pub(super) async fn write<F>(
        &self,
        origin: Origin,
        decide: F,
    ) -> Result<(Option<Entity>, Arc<Head>), ApiError>
    where
        F: Fn(&Config, &mut Fresh<'_>) -> Result<Decided, ApiError> + Send + 'static,
    {
        if self.read_only {
            return self.refuse(decide);
        }
        // A refusal that the domain does not know, such as an absent parent, travels as an answer
        // that changes nothing.
        let decide = move |config: &Config, fresh: &mut Fresh<'_>| match decide(config, fresh) {
            Ok(decided) => Ok((decided.changes, Ok(decided.entity))),
            Err(ApiError::Rejected(rejection)) => Err(rejection),
            Err(refusal) => Ok((Vec::new(), Err(refusal))),
        };
        let (decided, head) = self.writer.write(origin, decide).await?;
        Ok((decided?, head))
    }

    /// Decides, and refuses what was accepted; a deletion of nothing passes.
    fn refuse<F>(&self, decide: F) -> Result<(Option<Entity>, Arc<Head>), ApiError>
    where
        F: Fn(&Config, &mut Fresh<'_>) -> Result<Decided, ApiError>,
    {
        let head = self.head();
        let mut id = || self.clock.id();
        let mut fresh = Fresh { at: self.clock.now(), id: &mut id };
        match decide(head.snapshot.config(), &mut fresh) {
            Ok(Decided { changes, entity: None }) if changes.is_empty() => Ok((None, head)),
            Err(ApiError::Rejected(rejection)) if !read_only::comes_late(&rejection) => {
                Err(rejection.into())
            }
            Ok(_) | Err(ApiError::Rejected(_)) => Err(read_only::refusal()),
            Err(refused) => Err(refused),
        }
    }

    /// Replaces every entity.
    pub(super) async fn import(
        &self,
        origin: Origin,
        config: Config,
    ) -> Result<Arc<Head>, ApiError> {
        Ok(self.writer.import(origin, config).await?)
    }

    /// Brings an earlier config back.
    pub(super) async fn rollback(&self, origin: Origin, to: Moment) -> Result<Arc<Head>, ApiError> {
        self.writer.rollback(origin, to).await.map_err(|error| match error {
            RollbackError::Target(AtError::Replay(error)) => {
                StoreError::Rebuild(AtError::Replay(error)).into()
            }
            RollbackError::Target(AtError::Ambiguous(prefix)) => {
                ApiError::BadRequest(AtError::Ambiguous(prefix).to_string())
            }
            RollbackError::Target(absent) => ApiError::Missing(absent.to_string()),
            RollbackError::Write(error) => error.into(),
        })
    }

    /// Returns up to `size` events.
    pub(super) async fn events(
        &self,
        page: EventPage,
        size: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let (history, size) = (self.writer.history(), u32::try_from(size).unwrap_or(u32::MAX));
        let event = |row: &crate::log::row::Row| row.event(history.catalog());
        match page {
            EventPage::After(seq) => {
                let rows = history.log().read(seq, size).await?;
                Ok(rows.iter().map(event).collect::<Result<_, _>>()?)
            }
            EventPage::Before(seq) => {
                let end = self.head().seq.next().0.min(seq.0);
                let after = end.saturating_sub(1).saturating_sub(u64::from(size));
                let rows = history.log().read(Seq(after), size).await?;
                let rows = rows.iter().rev().filter(|row| row.seq.0 < end);
                Ok(rows.map(event).collect::<Result<_, _>>()?)
            }
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Rejected(rejection) => Self::Rejected(rejection),
            WriteError::Unavailable(cause) => StoreError::Append(cause).into(),
            WriteError::ShuttingDown => StoreError::ShuttingDown.into(),
            WriteError::Mismatch { .. } => {
                tracing::error!(%error, "a write was stopped");
                Self::Unexpected
            }
        }
    }
}

/// Returns the rejection of a `to` that names no moment.
pub(super) fn moment(text: &str) -> Result<Moment, ApiError> {
    text.parse().map_err(|error: crate::log::moment::ParseMomentError| {
        let errors = crate::domain::rejection::FieldErrors::one("to", error.to_string());
        Rejection::from(errors).into()
    })
}
