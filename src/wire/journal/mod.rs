//! The journal in the prefix: which config a data plane is putting in force, and what became of
//! those before it. It outlives the process, so that a config that ends the process is noticed.
//!
//! A config is on trial from before it is compiled until it has served for [`BAKE_TIME`]. A
//! process that ends meanwhile without being told to has crashed on it; after [`CRASHES_MAX`]
//! crashes it is refused, as one that cannot be compiled is. What is refused stays refused for this
//! program, which is why another program (a newer version, other plugins) tries once more.
//!
//! Where the journal cannot be written the data plane goes on without: configs matter more than
//! the memory of them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frame::Rejected;
use crate::domain::hash::ConfigHash;
use crate::pki::file::{Access, replace};
use crate::snapshot::head::SignedHead;
use crate::telemetry::trouble::Trouble;

/// The name of the file in the prefix. Whoever wants everything tried again removes it.
pub const FILE_NAME: &str = "config.journal";

/// How long a config has to serve until it is good.
pub const BAKE_TIME: Duration = Duration::from_secs(60);

/// How often a process may crash on a config before it is refused.
const CRASHES_MAX: u32 = 2;

/// How many configs are remembered as refused, and as crashed on.
const REMEMBERED_MAX: usize = 16;

/// What [`Rejected::phase`] says of a config that ended the process.
pub const CRASH: &str = "crash";

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    /// The program that refused and crashed.
    program: String,
    /// What is on trial in a process that runs, or ended without saying so.
    trial: Option<ConfigHash>,
    /// What processes crashed on, and how often, the latest last.
    crashed: Vec<(ConfigHash, u32)>,
    /// What is refused, the latest last.
    refused: Vec<Rejected>,
    /// What served for the bake time last, and the program that served it.
    good: Option<(ConfigHash, String)>,
    /// The newest head that was heard of, if the cache is of an older one with the same config.
    head: Option<SignedHead>,
}

/// The journal of one data plane.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    notes: Notes,
    /// Since when what is on trial serves.
    since: Option<Instant>,
    /// With writing it.
    trouble: Trouble,
}

impl Journal {
    /// Reads the journal, and judges the process before this one: one that ended during a trial
    /// crashed. `program` tells programs apart. A journal that cannot be read counts as none, and is
    /// logged.
    pub fn open(directory: &Path, program: &str) -> Self {
        let path = directory.join(FILE_NAME);
        let mut notes = read(&path).unwrap_or_else(|error| {
            tracing::error!(%error, path = %path.display(), "cannot read the journal, ignoring it");
            Notes::default()
        });
        if notes.program != program {
            notes.crashed.clear();
            notes.refused.clear();
            // Another program crashed, if one did.
            notes.trial = None;
            program.clone_into(&mut notes.program);
        }
        let mut journal = Self { path, notes, since: None, trouble: Trouble::new() };
        if let Some(hash) = journal.notes.trial.take() {
            journal.note_crash(hash);
            journal.save();
        }
        journal
    }

    fn note_crash(&mut self, hash: ConfigHash) {
        let crashed = &mut self.notes.crashed;
        let before = crashed.iter().position(|(known, _)| *known == hash);
        let count = before.map_or(0, |at| crashed.remove(at).1) + 1;
        if count < CRASHES_MAX {
            tracing::error!(config_hash = %hash,
                "the data plane ended soon after this configuration came into force; it is tried \
                 once more");
            remember(crashed, (hash, count));
            return;
        }
        let seconds = BAKE_TIME.as_secs();
        let reason = format!(
            "the data plane ended {count} times within {seconds} seconds of putting it in force"
        );
        tracing::error!(config_hash = %hash, "configuration refused: {reason}");
        let (entity, pointer) = (None, None);
        let phase = CRASH.to_owned();
        self.note_refusal(Rejected { config_hash: hash, phase, entity, pointer, reason });
    }

    fn note_refusal(&mut self, rejected: Rejected) {
        self.notes.refused.retain(|known| known.config_hash != rejected.config_hash);
        remember(&mut self.notes.refused, rejected);
    }

    /// Returns why a config is refused, if it is.
    pub fn refusal(&self, hash: ConfigHash) -> Option<&Rejected> {
        self.notes.refused.iter().find(|refused| refused.config_hash == hash)
    }

    /// Returns everything that is refused, the latest last.
    pub fn refused(&self) -> &[Rejected] {
        &self.notes.refused
    }

    /// Returns what served for the bake time last, whichever program served it.
    pub fn good(&self) -> Option<ConfigHash> {
        self.notes.good.as_ref().map(|(hash, _)| *hash)
    }

    /// Says on disk that a config is about to be put in force. Returns what was on trial before, to
    /// be given to [`Journal::refuse`] if it does not come to that.
    pub fn begin(&mut self, hash: ConfigHash, now: Instant) -> Before {
        let before = Before(self.notes.trial, self.since);
        let program = &self.notes.program;
        let is_good = self.notes.good.as_ref().is_some_and(|it| it.0 == hash && it.1 == *program);
        self.notes.trial = (!is_good).then_some(hash);
        self.since = (!is_good).then_some(now);
        if before.0 != self.notes.trial {
            self.save();
        }
        before
    }

    /// Says on disk that a config cannot be put in force; what served before still does.
    pub fn refuse(&mut self, rejected: Rejected, before: Before) {
        (self.notes.trial, self.since) = (before.0, before.1);
        self.note_refusal(rejected);
        self.save();
    }

    /// Returns whether what is on trial has served for long enough.
    pub fn is_baked(&self, now: Instant) -> bool {
        self.notes.trial.is_some()
            && self.since.is_some_and(|since| now.duration_since(since) >= BAKE_TIME)
    }

    /// Says on disk that what is on trial is good, if it has served for long enough; returns it.
    pub fn bake(&mut self, now: Instant) -> Option<ConfigHash> {
        let hash = self.notes.trial.filter(|_| self.is_baked(now))?;
        (self.notes.trial, self.since) = (None, None);
        self.notes.crashed.retain(|(known, _)| *known != hash);
        self.notes.good = Some((hash, self.notes.program.clone()));
        self.save();
        Some(hash)
    }

    /// Returns the newest head that was heard of for a config that is in the cache.
    pub fn head(&self) -> Option<SignedHead> {
        self.notes.head
    }

    /// Says on disk that a newer head has the config that is in the cache already.
    pub fn keep_head(&mut self, head: SignedHead) {
        self.notes.head = Some(head);
        self.save();
    }

    /// Says on disk that the process ends because it is told to.
    pub fn close(&mut self) {
        if self.notes.trial.take().is_some() {
            self.save();
        }
    }

    fn save(&mut self) {
        let path = self.path.display();
        match write(&self.path, &self.notes) {
            Ok(()) if self.trouble.ends() => tracing::info!(%path, "the journal is written again"),
            Err(error) if self.trouble.begins() => {
                tracing::error!(%error, %path, "cannot write the journal");
            }
            _ => {}
        }
    }
}

/// What was on trial before the last [`Journal::begin`].
#[derive(Debug)]
pub struct Before(Option<ConfigHash>, Option<Instant>);

fn remember<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= REMEMBERED_MAX {
        list.remove(0);
    }
    list.push(item);
}

fn read(path: &Path) -> io::Result<Notes> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Notes::default()),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, notes: &Notes) -> io::Result<()> {
    replace(path, serde_json::to_string(notes)?, Access::Private)
}

#[cfg(test)]
mod tests;
