//! The signal that a node serves, or why it never will: from the planes to whoever started them.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

/// Tells the starter of a node how the start ended; only the first word counts.
#[derive(Clone, Debug)]
pub struct ReadySignal(Arc<Mutex<Option<File>>>);

impl ReadySignal {
    /// Returns a signal that nobody waits for.
    pub fn unheard() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Returns a signal that goes through a pipe, which is closed after it.
    pub fn through(pipe: File) -> Self {
        Self(Arc::new(Mutex::new(Some(pipe))))
    }

    /// Says that every listener is bound and the node serves.
    pub fn ready(&self) {
        self.say("ready");
    }

    /// Says that the node cannot start, and why.
    pub fn failed(&self, reason: &str) {
        self.say(&format!("error {reason}"));
    }

    fn say(&self, words: &str) {
        let mut pipe = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(mut pipe) = pipe.take() {
            // A starter that went away does not stop the node.
            let _ = pipe.write_all(words.as_bytes());
        }
    }
}
