//! The events that a filter lets through, oldest first and page by page, also those to come.

use std::sync::Arc;

use super::Head;
use super::filter::Filter;
use super::history::{History, ReplayError};
use crate::domain::event::{Event, Seq};
use crate::log::row::Row;

/// Rows looked at in one step.
const PAGE_LEN: u32 = 1000;

/// A walk through the log.
pub struct Search {
    history: History,
    filter: Filter,
    /// What was looked at.
    after: Seq,
    near: Option<Arc<Head>>,
}

impl Search {
    /// Begins after the position that the filter says, which is not before the history's floor.
    pub fn new(history: History, filter: Filter) -> Self {
        let after = filter.after;
        Self { history, filter, after, near: None }
    }

    /// Skips all but the last `count` of the events there are now.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub async fn skip_to_last(&mut self, count: usize) -> Result<(), ReplayError> {
        let mut end = self.history.log().tip().await?.seq;
        if let Some(before) = self.filter.before {
            end = end.min(Seq(before.0.saturating_sub(1)));
        }
        let mut found = 0;
        if count == 0 {
            self.after = end;
            return Ok(());
        }
        while end > self.filter.after {
            let start = end.0.saturating_sub(u64::from(PAGE_LEN)).max(self.filter.after.0);
            let len = u32::try_from(end.0 - start).unwrap_or(PAGE_LEN);
            let rows = self.history.log().read(Seq(start), len).await?;
            for event in self.select(Seq(start), &rows).await?.iter().rev() {
                found += 1;
                if found == count {
                    self.after = Seq(event.seq.0.saturating_sub(1));
                    return Ok(());
                }
            }
            end = Seq(start);
        }
        Ok(())
    }

    /// Returns the events of the next stretch of the log, perhaps none; `None` at its end.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub async fn step(&mut self) -> Result<Option<Vec<Event>>, ReplayError> {
        if self.is_over() {
            return Ok(None);
        }
        let rows = self.history.log().read(self.after, PAGE_LEN).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
        if first.seq > self.after.next() {
            self.history.expect_events(self.after).await?;
        }
        let events = self.select(self.after, &rows).await?;
        self.after = last.seq;
        Ok(Some(events))
    }

    /// Returns whether no event to come is looked for.
    pub fn is_over(&self) -> bool {
        self.filter.before.is_some_and(|before| self.after.next() >= before)
    }

    /// Waits until there may be more events.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub async fn wait(&self) -> Result<(), ReplayError> {
        Ok(self.history.log().changed(self.after).await?)
    }

    async fn select(&mut self, after: Seq, rows: &[Row]) -> Result<Vec<Event>, ReplayError> {
        let mut config = None;
        if self.filter.needs_config() && !rows.is_empty() {
            let head = self.history.rebuild(after, self.near.take()).await?;
            config = Some(head.snapshot.config().clone());
            self.near = Some(head);
        }
        Ok(self.filter.select(self.history.catalog(), config, rows)?)
    }
}
