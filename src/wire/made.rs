//! What a thousand sessions ask for at once, made once, and kept for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::task::JoinError;

/// Values by name, the latest few.
pub(super) struct Made<N, V> {
    kept_max: usize,
    kept: Mutex<VecDeque<(N, Arc<OnceCell<V>>)>>,
}

impl<N: PartialEq, V: Clone + Send + 'static> Made<N, V> {
    /// Keeps as many values.
    pub(super) fn keeping(kept_max: usize) -> Self {
        Self { kept_max, kept: Mutex::default() }
    }

    /// Returns the value of a name. It is made off the threads that serve connections, and whoever
    /// asks meanwhile waits for it.
    ///
    /// # Errors
    ///
    /// Making it panicked, or the process ends. Who asks next makes it anew.
    pub(super) async fn of(
        &self,
        name: N,
        make: impl FnOnce() -> V + Send + 'static,
    ) -> Result<V, JoinError> {
        let cell = self.cell(name);
        cell.get_or_try_init(|| tokio::task::spawn_blocking(make)).await.cloned()
    }

    fn cell(&self, name: N) -> Arc<OnceCell<V>> {
        // What is kept can be made anew, so a poisoned lock is still good.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = kept.iter().find(|(kept, _)| *kept == name) {
            return cell.clone();
        }
        if kept.len() >= self.kept_max {
            kept.pop_front();
        }
        let cell = Arc::default();
        kept.push_back((name, Arc::clone(&cell)));
        cell
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_value_that_many_ask_for_is_made_once_while_it_is_kept() {
        let made = Arc::new(Made::keeping(2));
        let count = Arc::new(AtomicUsize::new(0));
        let ask = |name: u32| {
            let (made, count) = (made.clone(), count.clone());
            async move {
                let make = move || {
                    count.fetch_add(1, Ordering::Relaxed);
                    name * 10
                };
                made.of(name, make).await.unwrap()
            }
        };
        let all = futures_util::future::join_all((0..100).map(|i| ask(i % 2))).await;
        assert_eq!((&all[..3], count.load(Ordering::Relaxed)), (&[0, 10, 0][..], 2));
        ask(2).await;
        ask(1).await;
        assert_eq!(count.load(Ordering::Relaxed), 3);
        ask(0).await;
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_panic_is_of_who_asked_and_not_of_who_asks_next() {
        let made = Made::<u8, u8>::keeping(1);
        made.of(1, || panic!("no")).await.unwrap_err();
        assert_eq!(made.of(1, || 2).await.unwrap(), 2);
    }
}
