//! Recently visited moments: whoever pages through an old config rebuilds it once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Head;
use super::history::{AtError, History};
use crate::domain::event::Seq;
use crate::log::moment::Moment;

/// Most heads that are kept.
const HEADS_MAX: usize = 8;

/// Most entities in the heads that are kept, unless one head alone has more: an old config need
/// not share memory with the newest.
const ENTITIES_MAX: usize = 250_000;

/// The past of one log, with what was rebuilt of it lately.
pub(super) struct Past {
    history: History,
    /// The last visited first.
    recent: Mutex<VecDeque<Arc<Head>>>,
    /// Held while a head is rebuilt: many who ask for the same one wait for it, and many who ask
    /// for different ones do not take every core.
    rebuilding: tokio::sync::Mutex<()>,
}

impl Past {
    pub(super) fn new(history: History) -> Self {
        Self { history, recent: Mutex::default(), rebuilding: tokio::sync::Mutex::default() }
    }

    /// Returns the head of a moment; `newest` is the newest one.
    pub(super) async fn at(
        &self,
        newest: &Arc<Head>,
        moment: Moment,
    ) -> Result<Arc<Head>, AtError> {
        let seq = match moment {
            Moment::Seq(seq) if seq <= newest.seq => seq,
            moment => self.history.resolve(moment).await?,
        };
        if seq == newest.seq {
            return Ok(newest.clone());
        }
        if let Some(head) = self.recall(seq) {
            return Ok(head);
        }
        let _turn = self.rebuilding.lock().await;
        if let Some(head) = self.recall(seq) {
            return Ok(head);
        }
        let head = self.history.rebuild(seq, self.nearest(newest, seq)).await?;
        self.keep(head.clone());
        Ok(head)
    }

    fn heads(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Head>>> {
        // The list is whole between any two of its operations.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, seq: Seq) -> Option<Arc<Head>> {
        let mut heads = self.heads();
        let at = heads.iter().position(|head| head.seq == seq)?;
        let head = heads.remove(at)?;
        heads.push_front(head.clone());
        Some(head)
    }

    /// Returns the head at hand that needs the fewest events to get to a position.
    fn nearest(&self, newest: &Arc<Head>, seq: Seq) -> Option<Arc<Head>> {
        let heads = self.heads();
        let before = heads.iter().chain([newest]).filter(|head| head.seq <= seq);
        before.max_by_key(|head| head.seq).cloned()
    }

    fn keep(&self, head: Arc<Head>) {
        let mut heads = self.heads();
        heads.push_front(head);
        heads.truncate(HEADS_MAX);
        let mut entities = 0;
        let fits = heads.iter().take_while(|head| {
            entities += head.snapshot.config().len();
            entities <= ENTITIES_MAX
        });
        let fits = fits.count().max(1);
        heads.truncate(fits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::Catalog;
    use crate::domain::config::Config;
    use crate::domain::hash::GENESIS;
    use crate::log::sqlite::SqliteLog;
    use crate::snapshot::Snapshot;

    fn head(seq: u64) -> Arc<Head> {
        let snapshot = Snapshot::of(Config::default());
        Arc::new(Head {
            seq: Seq(seq),
            at: chrono::DateTime::UNIX_EPOCH,
            event_hash: GENESIS,
            config_hash: snapshot.hash(),
            snapshot: Arc::new(snapshot),
        })
    }

    #[tokio::test]
    async fn the_last_visited_are_kept_and_the_nearest_is_found() {
        let id = crate::clock::Clock::System.id();
        let directory = std::env::temp_dir().join(format!("hybridctl-{id}"));
        std::fs::create_dir(&directory).unwrap();
        let log = SqliteLog::open(&directory.join("log.db")).await.unwrap();
        let past = Past::new(History::new(Arc::new(log), Arc::new(Catalog::new(Vec::new()))));
        for seq in 1..=9 {
            past.keep(head(seq));
        }
        assert!(past.recall(Seq(1)).is_none(), "pushed out");
        let nearest = |seq| past.nearest(&head(20), Seq(seq)).map(|head| head.seq.0);
        assert_eq!(
            (nearest(1), nearest(4), nearest(15), nearest(21)),
            (None, Some(4), Some(9), Some(20))
        );
        assert!(past.recall(Seq(2)).is_some());
        past.keep(head(10));
        assert!(past.recall(Seq(2)).is_some() && past.recall(Seq(3)).is_none());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
