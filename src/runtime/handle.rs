//! The pointer to the runtime in force: swapped in one step, read by each core without a lock.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use super::Runtime;

/// The runtime in force; clones share it.
#[derive(Clone)]
pub struct Handle {
    current: Arc<ArcSwap<Runtime>>,
    /// Runtimes that requests may still hold.
    retired: Arc<Mutex<Vec<Arc<Runtime>>>>,
}

impl Handle {
    /// Starts with a runtime.
    pub fn new(runtime: Arc<Runtime>) -> Self {
        Self { current: Arc::new(ArcSwap::new(runtime)), retired: Arc::default() }
    }

    /// Returns the runtime in force.
    pub fn load(&self) -> Arc<Runtime> {
        self.current.load_full()
    }

    /// Puts a runtime in force.
    pub fn swap(&self, runtime: Arc<Runtime>) {
        let old = self.current.swap(runtime);
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        self.sweep();
    }

    /// Drops the old runtimes that no request holds any more. Called off the proxy cores, so that
    /// freeing a large config never stalls traffic.
    pub fn sweep(&self) {
        let gone: Vec<_> = {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody can take a new reference to a retired runtime but who holds one.
            let held = |runtime: &mut Arc<Runtime>| Arc::strong_count(runtime) == 1;
            retired.extract_if(.., held).collect()
        };
        drop(gone);
    }

    /// Returns a reader for one core.
    pub fn reader(&self) -> Reader {
        let mut cache = Cache::new(self.current.clone());
        let held = Rc::new(cache.load().clone());
        Reader(RefCell::new(Latest { cache, held }))
    }
}

/// A runtime as the requests of one core hold it: counted by the core for itself, since a count that all
/// cores write would go from one to the other with each request.
pub type Held = Rc<Arc<Runtime>>;

/// Reads the runtime in force on one core: a pointer compare as long as nothing changed.
pub struct Reader(RefCell<Latest>);

struct Latest {
    cache: Cache<Arc<ArcSwap<Runtime>>, Arc<Runtime>>,
    held: Held,
}

impl Reader {
    /// Returns the runtime in force.
    pub fn load(&self) -> Held {
        let Latest { cache, held } = &mut *self.0.borrow_mut();
        let current = cache.load();
        if !Arc::ptr_eq(current, held) {
            *held = Rc::new(current.clone());
        }
        held.clone()
    }
}
