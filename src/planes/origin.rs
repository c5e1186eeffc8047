//! What a data plane starts with: its cache, else the declared configuration, else nothing
//! (the order is that of the documentation of hybrid mode); and the cache that it leaves.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::decide::Fresh;
use crate::failpoint;
use crate::pki::ed25519::VerifyKey;
use crate::settings::{ClusterProtocol, Settings};
use crate::snapshot::Snapshot;
use crate::snapshot::file::{self, KongOrigin, Loaded};
use crate::snapshot::head::SignedHead;
use crate::telemetry::trouble::Trouble;
use crate::wire::frame::{Pin, Position};
use crate::wire::pin;
use crate::wire::session::follower::Memory;

/// What a data plane starts with.
pub(super) struct Start {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) memory: Memory,
    pub(super) pin_path: PathBuf,
    /// What a control plane of Kong called it, if it came from one.
    pub(super) kong_hash: Option<String>,
}

/// Finds what to start with.
///
/// # Errors
///
/// A declared configuration that is not valid, or a pin that cannot be read: both are the
/// operator's to mend. A damaged cache is no error: it is logged and passed over.
pub(super) fn load(settings: &Settings, catalog: &Catalog, clock: &Clock) -> anyhow::Result<Start> {
    let directory = settings.prefix.path();
    let pin_path = directory.join(pin::FILE_NAME);
    let pinned = pin::load(&pin_path)
        .with_context(|| format!("the cluster's pin {} is unusable", pin_path.display()))?;
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    failpoint::hit("start.load");
    let mut memory = Memory { pin: pinned, applied: None, rejected: None };
    let protocol = settings.cluster.protocol;
    let accept = |loaded: Loaded| accept(loaded, &mut memory, protocol);
    let (cached, skipped) = file::load_newest(catalog, directory, &mut fresh, accept);
    for (path, error) in skipped {
        tracing::error!(path = %path.display(), "cached configuration {error}, ignoring");
    }
    if let Some(Cached { snapshot, kong_hash }) = cached {
        tracing::info!(config_hash = %snapshot.hash(), "found cached config, loading...");
        return Ok(Start { snapshot: Arc::new(snapshot), memory, pin_path, kong_hash });
    }
    let declared = declared(settings, catalog, &mut fresh)?.unwrap_or_default();
    Ok(Start { snapshot: Arc::new(declared), memory, pin_path, kong_hash: None })
}

/// Reads the configuration that the settings declare, if they do.
///
/// # Errors
///
/// It cannot be read, or is not valid.
pub(super) fn declared(
    settings: &Settings,
    catalog: &Catalog,
    fresh: &mut Fresh<'_>,
) -> anyhow::Result<Option<Snapshot>> {
    let declared = &settings.declarative;
    let (name, text) = match (&declared.file, &declared.text) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).with_context(|| {
                format!("error parsing declarative config file {}", file.display())
            })?;
            (file.display().to_string(), text)
        }
        (None, Some(text)) => (String::new(), text.clone()),
        (None, None) => return Ok(None),
    };
    let what = match name.is_empty() {
        true => "error parsing declarative string".to_owned(),
        false => format!("error parsing declarative config file {name}"),
    };
    let tree = file::parse_text(&name, &text).with_context(|| what.clone())?;
    let snapshot = file::declared(catalog, &tree, fresh).context(what)?;
    tracing::info!(config_hash = %snapshot.hash(), "declarative config loaded");
    Ok(Some(snapshot))
}

/// What a cache holds.
struct Cached {
    snapshot: Snapshot,
    kong_hash: Option<String>,
}

/// Takes over what a cache says of its cluster, if its signature holds. What came from a control
/// plane of Kong has none, and is nothing for a data plane that has pinned a cluster, unless its
/// operator wants it so.
fn accept(loaded: Loaded, memory: &mut Memory, protocol: ClusterProtocol) -> Option<Cached> {
    if let Some(kong) = &loaded.kong
        && memory.pin.is_some()
        && protocol != ClusterProtocol::Kong
    {
        tracing::error!(
            control_plane = kong.control_plane,
            "cached configuration is of a control plane of Kong and not signed by the cluster that \
             this data plane has pinned, looking for an older one"
        );
        return None;
    }
    let kong_hash = loaded.kong.map(|kong| kong.config_hash);
    let cached = Cached { snapshot: loaded.snapshot, kong_hash };
    let Some((head, public_key)) = loaded.origin else { return Some(cached) };
    let signed = VerifyKey::parse(&public_key)
        .and_then(|key| key.verify(&head.signed_message(), &head.signature.0));
    let from = Pin { cluster_id: head.cluster_id, public_key };
    let foreign = memory.pin.as_ref().is_some_and(|pin| *pin != from);
    if signed.is_err() || foreign {
        let why = if foreign { "is of another cluster" } else { "is not signed by its cluster" };
        tracing::error!("cached configuration {why}, ignoring");
        return None;
    }
    memory.applied = Some(Position::from(head));
    Some(cached)
}

/// Where the cache is left.
pub(super) struct Cache {
    directory: PathBuf,
    trouble: Mutex<Trouble>,
}

impl Cache {
    /// Returns the one in a directory.
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), trouble: Mutex::default() }
    }

    /// Writes the cache. The configuration is served whether or not that works, and the next one
    /// is kept if it can be.
    pub(super) fn keep(&self, catalog: &Catalog, snapshot: &Snapshot, head: SignedHead, pin: Pin) {
        self.store(&file::encode(catalog, snapshot, Some((head, pin.public_key))));
    }

    /// Does the same for a configuration that a control plane of Kong sent.
    pub(super) fn keep_unsigned(&self, catalog: &Catalog, snapshot: &Snapshot, kong: KongOrigin) {
        self.store(&file::encode_unsigned(catalog, snapshot, kong));
    }

    fn store(&self, bytes: &[u8]) {
        failpoint::hit("cache.encoded");
        let stored = file::store(&self.directory, bytes);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match stored {
            Ok(()) if trouble.ends() => tracing::info!("config cache file is written again"),
            Err(error) if trouble.begins() => {
                tracing::error!(%error, "unable to write config cache file");
            }
            _ => {}
        }
    }
}
