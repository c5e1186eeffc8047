//! Decisions on promotion by the command line: in the database, where running control planes look.

use std::sync::Arc;

use anyhow::Context as _;

use super::SettingsArgs;
use super::database::{self, Target};
use crate::clock::Clock;
use crate::domain::event::Seq;
use crate::log::EventLog;
use crate::log::moment::Moment;
use crate::log::promotions::PromotionStore;
use crate::promotion::decision::{Decision, Position};
use crate::promotion::keeper::{self, Who};
use crate::promotion::order::Refusal;
use crate::promotion::state::State;
use crate::writer::Head;
use crate::writer::history::History;

/// The decisions of a database, and the log beside them.
pub(super) struct Promotion {
    store: Arc<dyn PromotionStore>,
    history: History,
    /// What is in force.
    pub(super) state: State,
}

impl Promotion {
    /// Opens the database that the settings name; it must be there.
    pub(super) async fn open(settings: SettingsArgs) -> anyhow::Result<Self> {
        let target = Target::find(settings)?;
        let log = target.open().await?;
        let history = History::new(log.clone(), target.catalog);
        let mut state = State::default();
        let read = keeper::catch_up(&*log, &mut state).await;
        read.context("cannot read the decisions on promotion")?;
        Ok(Self { store: log, history, state })
    }

    /// Returns the end of the log.
    pub(super) async fn newest(&self) -> anyhow::Result<Position> {
        let log: &dyn EventLog = &**self.history.log();
        let end = log.tip().await.context("cannot read the log")?.seq;
        let Some(before) = end.0.checked_sub(1) else { return Ok(Position::of(&Head::empty())) };
        let rows = log.read(Seq(before), 1).await.context("cannot read the log")?;
        let row = rows.first().context("the log has lost its last event")?;
        Ok(Position { seq: row.seq, config_hash: row.config_hash })
    }

    /// Returns the position and config of a moment.
    pub(super) async fn at(&self, moment: Moment) -> anyhow::Result<Position> {
        let head = self.history.at(moment).await;
        Ok(Position::of(&*head.with_context(|| format!("cannot find {moment}"))?))
    }

    /// Decides; returns whether there was something to decide.
    pub(super) async fn decide(
        &mut self,
        reason: Option<String>,
        order: impl Fn(&State) -> Result<Option<Decision>, Refusal> + Send + Sync,
    ) -> anyhow::Result<bool> {
        let who = Who { actor: database::actor(), source: "cli", reason };
        let clock = Clock::System;
        Ok(keeper::decide(&*self.store, &mut self.state, &clock, &who, order).await?)
    }
}
