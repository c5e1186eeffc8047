//! How a config comes into force on a data plane, whichever way it came: journal, runtime, cache.
//!
//! Invariants:
//! - the journal says so before a config is compiled, so that one that ends the process is found
//!   out at the next start;
//! - a config that is refused is not tried again by the same program;
//! - the cache is written after the config is in force, and whatever fails there, it stays so;
//! - what is acknowledged is in the cache, if it can be.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::keeper::Keeper;
use super::served::Served;
use crate::domain::catalog::Catalog;
use crate::domain::hash::ConfigHash;
use crate::failpoint;
use crate::runtime::{CompileError, Tools};
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::snapshot::file::{self, KongOrigin, Newest};
use crate::snapshot::head::SignedHead;
use crate::telemetry::trouble::Trouble;
use crate::wire::frame::{Pin, Rejected};
use crate::wire::journal::Journal;

/// How long the file form of a config is waited for while requests want the core.
const KEEP_WITHIN: Duration = Duration::from_millis(500);

/// Puts configs in force; clones share everything.
#[derive(Clone)]
pub(super) struct Applier(Arc<Inner>);

struct Inner {
    catalog: Arc<Catalog>,
    directory: PathBuf,
    served: Served,
    tools: Tools,
    record: Mutex<Record>,
    encoder: Arc<file::Encoder>,
    keeper: Keeper<Kept, Vec<u8>>,
    turn: watch::Sender<Turn>,
}

/// A config for the cache.
struct Kept {
    snapshot: Arc<Snapshot>,
    from: Origin,
}

/// Whose the files in the prefix are: two processes that note trials in one journal would take each
/// other's for crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// This process's.
    Ours,
    /// Of a process that may take the place of this one.
    Lent,
    /// Of one that has.
    Gone,
}

/// Which way a config came.
pub(super) enum Origin {
    /// By a head that its cluster signed.
    Signed(SignedHead, Pin),
    /// From a control plane of Kong, signed by nobody.
    Kong(KongOrigin),
}

/// What is known of the files in the prefix.
struct Record {
    journal: Journal,
    /// What the newest generation of the cache is.
    newest: Newest,
    /// The config in it, if it is the one that was put in force last.
    stored: Option<ConfigHash>,
    /// Which of those that were to be kept was written, or tried, last.
    written: u64,
    /// With writing the cache.
    trouble: Trouble,
}

impl Applier {
    /// Takes up the journal of the prefix.
    pub(super) fn open(
        settings: &Settings,
        catalog: Arc<Catalog>,
        served: Served,
        tools: Tools,
    ) -> Self {
        let directory = settings.prefix.path().to_owned();
        let journal = Journal::open(&directory, &program(settings));
        let (newest, trouble) = (Newest::Good, Trouble::new());
        let record = Mutex::new(Record { journal, newest, stored: None, written: 0, trouble });
        let encoder = Arc::new(file::Encoder::new(catalog.clone()));
        let own = encoder.clone();
        let keeper = Keeper::new(move |kept: &Kept| kept.encode(&own));
        let turn = watch::Sender::new(Turn::Ours);
        Self(Arc::new(Inner { catalog, directory, served, tools, record, encoder, keeper, turn }))
    }

    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        &self.0.catalog
    }

    /// Returns what is refused, the latest last.
    pub(super) fn refused(&self) -> Vec<Rejected> {
        self.record().journal.refused().to_vec()
    }

    /// Returns a newer head than that of the cache, if one with the same config was heard of.
    pub(super) fn kept_head(&self) -> Option<SignedHead> {
        self.record().journal.head()
    }

    /// Says whether the newest generation of the cache is what was started with.
    pub(super) fn found(&self, newest: Option<ConfigHash>) {
        let mut record = self.record();
        record.stored = newest;
        record.newest = match (newest, record.journal.good()) {
            (None, _) => Newest::Bad,
            (Some(hash), Some(good)) if hash != good => Newest::Unproven,
            // Nobody noted what is good where a cache was copied to.
            (Some(_), _) => Newest::Good,
        };
    }

    /// Puts in force what the data plane starts with; returns whether it serves it. The runtime
    /// begins empty, so an empty config needs no more than to be wanted.
    pub(super) fn start_with(&self, snapshot: &Arc<Snapshot>) -> bool {
        let config_hash = snapshot.hash();
        if let Some(refused) = self.record().journal.refusal(config_hash) {
            let (phase, reason) = (&refused.phase, &refused.reason);
            tracing::error!(%config_hash, phase, "the configuration at hand is refused: {reason}");
            return false;
        }
        if snapshot.config().is_empty() {
            self.0.served.confirm();
            return true;
        }
        self.put_in_force(snapshot).is_ok()
    }

    /// Puts a verified snapshot in force and keeps it; blocks while it compiles and writes. Of a
    /// config that is served and kept already, the head is kept.
    pub(super) fn apply(&self, snapshot: &Arc<Snapshot>, from: Origin) -> Result<(), CompileError> {
        let config_hash = snapshot.hash();
        let is_served = self.0.served.handle.load().config_hash == config_hash;
        if is_served {
            self.0.served.confirm();
        } else {
            self.put_in_force(snapshot)?;
            match &from {
                Origin::Signed(head, _) => {
                    tracing::info!(seq = head.seq.0, %config_hash, "configuration served");
                }
                Origin::Kong(kong) => {
                    tracing::info!(kong = kong.config_hash, %config_hash, "configuration served");
                }
            }
        }
        let is_kept = is_served && self.record().stored == Some(config_hash);
        match from {
            Origin::Signed(head, _) if is_kept => self.record().journal.keep_head(head),
            from => self.keep(Kept { snapshot: snapshot.clone(), from }),
        }
        Ok(())
    }

    fn put_in_force(&self, snapshot: &Arc<Snapshot>) -> Result<(), CompileError> {
        if let Some(refused) = self.record().journal.refusal(snapshot.hash()) {
            let reason = format!("it was refused before: {}", refused.reason);
            return Err(CompileError { entity: None, reason });
        }
        let before = self.record().journal.begin(snapshot.hash(), Instant::now());
        self.0.served.serve(snapshot, &self.0.tools).inspect_err(|error| {
            tracing::error!(config_hash = %snapshot.hash(), %error, "configuration not served");
            self.record().journal.refuse(rejected(snapshot.hash(), error), before);
        })
    }

    /// Writes the cache, unless a newer config was written. If that takes long, it is done while no
    /// request wants the core; where they all want it for too long, it is done all the same. The
    /// configuration is served whether or not that works, and the next one is kept if it can be.
    fn keep(&self, kept: Kept) {
        let kept = Arc::new(kept);
        let (number, made) = match self.0.encoder.has_most_of(&kept.snapshot) {
            true => (self.0.keeper.pass(), None),
            false => self.0.keeper.make(kept.clone(), KEEP_WITHIN),
        };
        let bytes = made.unwrap_or_else(|| kept.encode(&self.0.encoder));
        failpoint::hit("cache.encoded");
        let hash = kept.snapshot.hash();
        let mut record = self.record();
        if number <= record.written {
            return;
        }
        record.written = number;
        // The same config under another name takes the place of itself.
        let is_same = record.stored == Some(hash);
        let newest = if is_same { Newest::Bad } else { record.newest };
        match file::store(&self.0.directory, &bytes, newest) {
            Ok(()) => {
                let is_good = record.journal.good() == Some(hash);
                record.newest = if is_good { Newest::Good } else { Newest::Unproven };
                record.stored = Some(hash);
                if record.trouble.ends() {
                    tracing::info!("config cache file is written again");
                }
            }
            Err(error) if record.trouble.begins() => {
                tracing::error!(%error, "unable to write config cache file");
            }
            Err(_) => {}
        }
    }

    /// Notes that what is served is good, if it has been served for long enough; blocks then.
    pub(super) fn bake(&self) {
        let mut record = self.record();
        let baked = record.journal.bake(Instant::now());
        if baked.is_some() && baked == record.stored {
            record.newest = Newest::Good;
        }
    }

    /// Returns whether there is something to note.
    pub(super) fn is_baked(&self) -> bool {
        self.record().journal.is_baked(Instant::now())
    }

    /// Notes that the data plane ends because it is told to.
    pub(super) fn close(&self) {
        self.record().journal.close();
    }

    /// Leaves the files to a process that may take the place of this one: what comes meanwhile waits,
    /// and what is on trial is no crash of this process.
    pub(super) fn lend(&self) {
        self.0.turn.send_replace(Turn::Lent);
        self.record().journal.close();
    }

    /// Takes the files back from a process that did not come to serve.
    pub(super) fn take_back(&self) {
        if self.0.served.has_config() {
            let served = self.0.served.handle.load().config_hash;
            self.record().journal.begin(served, Instant::now());
        }
        self.0.turn.send_replace(Turn::Ours);
    }

    /// Leaves the files to the process that has taken the place of this one.
    pub(super) fn give_up(&self) {
        self.0.turn.send_replace(Turn::Gone);
    }

    /// Waits until the files are this process's, for ever once they are another's.
    pub(super) async fn turn(&self) {
        let mut turn = self.0.turn.subscribe();
        // The sender lives as long as this value.
        let _ours = turn.wait_for(|turn| *turn == Turn::Ours).await;
    }

    // A note is made whole or not at all, so a poisoned lock is still good.
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Returns the file form.
    fn encode(&self, encoder: &file::Encoder) -> Vec<u8> {
        match &self.from {
            Origin::Signed(head, pin) => {
                encoder.encode(&self.snapshot, Some((*head, pin.public_key.clone())))
            }
            Origin::Kong(kong) => encoder.encode_unsigned(&self.snapshot, kong.clone()),
        }
    }
}

/// A data plane that cannot start has not crashed on its config.
impl Drop for Inner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.record.get_mut().unwrap_or_else(PoisonError::into_inner).journal.close();
        }
    }
}

/// Says why a config is not served as a control plane is told.
pub(super) fn rejected(config_hash: ConfigHash, error: &CompileError) -> Rejected {
    Rejected {
        config_hash,
        phase: "compile".to_owned(),
        entity: error.entity.map(|key| key.to_string()),
        pointer: None,
        reason: error.reason.clone(),
    }
}

/// Tells apart what may serve a config that something else refused: the executable, and which
/// plugins it runs.
fn program(settings: &Settings) -> String {
    let file = std::env::current_exe().and_then(std::fs::metadata);
    let (size, changed) = file.map_or((0, 0), |file| (file.len(), file.mtime()));
    let (plugins, unsupported) = (settings.plugins.join(","), settings.unsupported_plugins);
    format!("{} {size:x} {changed:x} {plugins} {unsupported:?}", env!("CARGO_PKG_VERSION"))
}
