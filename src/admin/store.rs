//! The way to the log: reads from the head, writes through the writer, events of the past.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::call::Call;
use super::error::ApiError;
use super::{etag, read_only};
use crate::clock::Clock;
use crate::domain::config::Config;
use crate::domain::decide::{Decision, Fresh};
use crate::domain::entity::Entity;
use crate::domain::event::{Change, Event, Origin, Seq};
use crate::log::fault::Fault;
use crate::log::moment::{Moment, ParseMomentError};
use crate::log::row::RowError;
use crate::log::{AppendError, StorageError};
use crate::writer::filter::Filter;
use crate::writer::history::{AtError, ReplayError};
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

/// What a read is answered from.
pub(super) struct View {
    /// The position and its config; what is read from one head fits together.
    pub(super) head: Arc<Head>,
    /// When that is, if it is in the past: what lives for a time only lived then.
    pub(super) time: Option<DateTime<Utc>>,
    /// The `at` that leads back to it, if one was given: a position, so that the pages of a list
    /// are of one config, whatever happens between them.
    pub(super) at: Option<String>,
}

impl View {
    /// Returns the config.
    pub(super) fn config(&self) -> &Config {
        self.head.snapshot.config()
    }
}

/// Why the log could not be used; writes fail while it lasts, reads go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An event could not be appended.
    #[error("the event log cannot be written: {}; nothing was changed, reads still work", .0.fault())]
    Append(#[source] Arc<AppendError>),
    /// An event may have been appended.
    #[error(
        "the event log failed: {}; it is not known yet whether this took effect, look before you \
         try again", .0.fault()
    )]
    InDoubt(#[source] Arc<AppendError>),
    /// What the database holds could not be read, or something beside the log not be written.
    #[error("the database cannot be used: {}; try again later", .0.fault())]
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

impl StoreError {
    /// Logs it where it stops. What the writer runs into as well, it has told of once.
    pub(super) fn log(&self) {
        let is_told = match self {
            Self::Append(_) | Self::InDoubt(_) => true,
            Self::Read(error) => is_told(error),
            Self::Rebuild(AtError::Replay(ReplayError::Storage(error))) => is_told(error),
            Self::Row(_) | Self::Rebuild(_) | Self::ShuttingDown => false,
        };
        match is_told {
            true => tracing::debug!(cause = ?self, "cannot use the event log"),
            false => tracing::error!(cause = ?self, "cannot use the event log"),
        }
    }
}

/// Returns whether the writer, which reads all the time, fails by it too.
fn is_told(error: &StorageError) -> bool {
    matches!(error.fault(), Fault::Unreachable | Fault::Slow | Fault::Exhausted)
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

    /// Returns whether entities are only ever replaced as a whole.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Returns the newest head; what is read from one head fits together.
    pub(super) fn head(&self) -> Arc<Head> {
        self.writer.head()
    }

    /// Returns the head that a read is answered from: the newest, or the one that `at` names.
    pub(super) async fn view(&self, call: &Call) -> Result<View, ApiError> {
        let Some(text) = call.argument("at") else {
            return Ok(View { head: self.head(), time: None, at: None });
        };
        let moment: Moment = text
            .parse()
            .map_err(|error: ParseMomentError| ApiError::option("at", &error.to_string()))?;
        let head = self.at(moment).await?;
        let time = if let Moment::Time(time) = moment { time } else { head.at };
        let at = Some(head.seq.to_string());
        Ok(View { head, time: Some(time), at })
    }

    /// Returns the head of a moment.
    pub(super) async fn at(&self, moment: Moment) -> Result<Arc<Head>, ApiError> {
        Ok(self.writer.at(moment).await?)
    }

    /// Decides, appends, and returns what was decided with the head that contains it. `decide`
    /// runs again when somebody else wrote first.
    pub(super) async fn write<T, F>(
        &self,
        (call, forced): (&Call, bool),
        origin: Origin,
        decide: F,
    ) -> Result<(T, Arc<Head>), ApiError>
    where
        T: Send + 'static,
        F: Fn(&Config, &mut Fresh<'_>) -> Result<(Vec<Change>, T), ApiError> + Send + 'static,
    {
        if self.read_only {
            return self.refuse(decide);
        }
        // A refusal that the domain does not know, such as an absent parent, travels as an answer
        // that changes nothing.
        let decide = move |config: &Config, fresh: &mut Fresh<'_>| match decide(config, fresh) {
            Ok((changes, value)) => Ok((changes, Ok(value))),
            Err(ApiError::Rejected(rejection)) => Err(rejection),
            Err(refusal) => Ok((Vec::new(), Err(refusal))),
        };
        let writer = self.writer_for(call, forced)?;
        let (decided, head) = writer.write(origin, decide).await?;
        Ok((decided?, head))
    }

    /// Returns the writer under the terms that a request asks for.
    fn writer_for(&self, call: &Call, forced: bool) -> Result<Writer, ApiError> {
        Ok(self.writer.when(etag::precondition(&call.headers)?).force(forced))
    }

    /// Decides, and refuses what was accepted, unless it changes nothing.
    fn refuse<T, F>(&self, decide: F) -> Result<(T, Arc<Head>), ApiError>
    where
        F: Fn(&Config, &mut Fresh<'_>) -> Result<(Vec<Change>, T), ApiError>,
    {
        let head = self.head();
        let mut id = || self.clock.id();
        let mut fresh = Fresh { at: self.clock.now(), id: &mut id };
        match decide(head.snapshot.config(), &mut fresh) {
            Ok((changes, value)) if changes.is_empty() => Ok((value, head)),
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
        forced: bool,
        origin: Origin,
        config: Config,
    ) -> Result<Arc<Head>, ApiError> {
        Ok(self.writer.force(forced).import(origin, config).await?)
    }

    /// Brings an earlier config back.
    pub(super) async fn rollback(
        &self,
        (call, forced): (&Call, bool),
        origin: Origin,
        to: Moment,
    ) -> Result<Arc<Head>, ApiError> {
        let writer = self.writer_for(call, forced)?;
        writer.rollback(origin, to).await.map_err(|error| match error {
            RollbackError::Target(error) => error.into(),
            RollbackError::Write(error) => error.into(),
        })
    }

    /// Returns the position of a moment.
    pub(super) async fn position(&self, moment: Moment) -> Result<Seq, ApiError> {
        Ok(self.writer.history().resolve(moment).await?)
    }

    /// Returns the position before the first event that was not moved to an archive.
    pub(super) async fn floor(&self) -> Result<Seq, ApiError> {
        Ok(self.writer.history().floor().await.map_err(StoreError::from)?)
    }

    /// Checks that no event after a position was moved to an archive.
    pub(super) async fn expect_events(&self, after: Seq) -> Result<(), ApiError> {
        self.writer.history().expect_events(after).await?;
        Ok(())
    }

    /// Returns a receiver that always holds the newest head.
    pub(super) fn heads(&self) -> watch::Receiver<Arc<Head>> {
        self.writer.subscribe()
    }

    /// Returns the `len` events after a position, oldest first.
    pub(super) async fn events(&self, after: Seq, len: u64) -> Result<Vec<Event>, ApiError> {
        self.select(&Filter::default(), after, len).await
    }

    /// Returns those of the `len` events after a position that a filter lets through, oldest first.
    pub(super) async fn select(
        &self,
        filter: &Filter,
        after: Seq,
        len: u64,
    ) -> Result<Vec<Event>, ApiError> {
        let (history, len) = (self.writer.history(), u32::try_from(len).unwrap_or(u32::MAX));
        let rows = history.log().read(after, len).await.map_err(StoreError::from)?;
        if rows.first().is_some_and(|first| first.seq > after.next()) {
            history.expect_events(after).await?;
        }
        let config = match filter.needs_config() && !rows.is_empty() {
            true => Some(self.at(Moment::Seq(after)).await?.snapshot.config().clone()),
            false => None,
        };
        Ok(filter.select(history.catalog(), config, &rows).map_err(StoreError::from)?)
    }
}

impl From<AtError> for ApiError {
    fn from(error: AtError) -> Self {
        match error {
            AtError::Replay(_) => StoreError::Rebuild(error).into(),
            AtError::Ambiguous(_) => Self::BadRequest(error.to_string()),
            AtError::Archived(archived) => Self::Gone(archived),
            AtError::Beyond { .. } | AtError::Unknown(_) | AtError::UnknownSince { .. } => {
                Self::Missing(error.to_string())
            }
        }
    }
}

impl From<ReplayError> for ApiError {
    fn from(error: ReplayError) -> Self {
        AtError::from(error).into()
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stale { current } => Self::Stale { current },
            WriteError::Rejected(rejection) => Self::Rejected(rejection),
            WriteError::Shrinks(shrink) => Self::Shrinks(shrink),
            WriteError::TooLarge(oversize) => Self::Oversize(oversize),
            WriteError::Unavailable(cause) => StoreError::Append(cause).into(),
            WriteError::InDoubt(cause) => StoreError::InDoubt(cause).into(),
            WriteError::ShuttingDown => StoreError::ShuttingDown.into(),
            WriteError::Mismatch { .. } => {
                tracing::error!(%error, "a write was stopped");
                Self::Unexpected
            }
        }
    }
}
