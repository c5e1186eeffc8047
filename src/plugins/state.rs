//! State of plugins that outlives a change of configuration, found by its type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What plugins keep for as long as the process runs; clones share it.
#[derive(Clone, Default)]
pub struct PluginState {
    /// A lock that is only taken while plugins are built.
    entries: Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
}

impl PluginState {
    /// Returns the one value of this type, made when it is first asked for.
    pub fn of<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        entry.clone().downcast().unwrap_or_default()
    }
}

impl fmt::Debug for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PluginState")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_type_has_one_value() {
        let state = PluginState::default();
        state.of::<AtomicU32>().store(7, Ordering::Relaxed);
        assert_eq!(state.clone().of::<AtomicU32>().load(Ordering::Relaxed), 7);
    }
}
