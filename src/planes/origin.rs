//! What a data plane starts with: its cache, else the declared configuration, else nothing
//! (the order is that of the documentation of hybrid mode).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::apply::Applier;
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::decide::Fresh;
use crate::failpoint;
use crate::settings::{ClusterProtocol, Settings};
use crate::snapshot::Snapshot;
use crate::snapshot::file;
use crate::wire::follow::keep_pin;
use crate::wire::frame::{Pin, Position};
use crate::wire::pin;
use crate::wire::session::follower::{Memory, believe};

/// What a data plane starts with.
pub(super) struct Start {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) memory: Memory,
    pub(super) pin_path: PathBuf,
    /// What a control plane of Kong called it, if it came from one.
    pub(super) kong_hash: Option<String>,
}

/// Finds what to start with and puts it in force: the newest generation of the cache that can be
/// served, else what is declared, else nothing.
///
/// A data plane without a pin that starts from the cache of another one belongs to its cluster.
///
/// # Errors
///
/// A declared configuration that is not valid, or a pin that cannot be read: both are the
/// operator's to mend. A cache that is damaged or refused is no error: it is logged and passed over.
pub(super) fn start(
    settings: &Settings,
    applier: &Applier,
    clock: &Clock,
) -> anyhow::Result<Start> {
    let directory = settings.prefix.path();
    let pin_path = directory.join(pin::FILE_NAME);
    let pinned = pin::load(&pin_path)
        .with_context(|| format!("the cluster's pin {} is unusable", pin_path.display()))?;
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    failpoint::hit("start.load");
    let mut memory = Memory { pin: pinned, applied: None, rejected: Vec::new() };
    let mut cache = None;
    for (age, path) in file::generations(directory).into_iter().enumerate() {
        let found = cached(&path, applier, (&mut memory, settings.cluster.protocol), &mut fresh);
        applier.found(found.as_ref().filter(|_| age == 0).map(|found| found.snapshot.hash()));
        if found.is_some() {
            cache = found;
            break;
        }
    }
    if let Some(pin) = memory.pin.as_ref().filter(|_| !pin_path.exists()) {
        keep_pin(&pin_path, pin);
    }
    let (snapshot, kong_hash) = match cache {
        Some(Cached { snapshot, kong_hash }) => (snapshot, kong_hash),
        None => {
            let declared = declared(settings, applier.catalog(), &mut fresh)?.map(Arc::new);
            (declared.filter(|declared| applier.start_with(declared)).unwrap_or_default(), None)
        }
    };
    memory.rejected = applier.refused();
    Ok(Start { snapshot, memory, pin_path, kong_hash })
}

/// What a cache holds.
struct Cached {
    snapshot: Arc<Snapshot>,
    kong_hash: Option<String>,
}

/// Starts with one generation of the cache, if that is possible. What came from a control plane of
/// Kong is signed by nobody, and nothing for a data plane that has pinned a cluster, unless its
/// operator wants it so.
fn cached(
    path: &Path,
    applier: &Applier,
    (memory, protocol): (&mut Memory, ClusterProtocol),
    fresh: &mut Fresh<'_>,
) -> Option<Cached> {
    let refuse = |why: &dyn std::fmt::Display| {
        tracing::error!(path = %path.display(), "cached configuration {why}, ignoring");
    };
    let loaded = file::load(applier.catalog(), path, fresh).map_err(|error| refuse(&error)).ok()?;
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
    let signed = match loaded.origin {
        Some((head, public_key)) => {
            let from = Pin { cluster_id: head.cluster_id, public_key };
            let newer = applier.kept_head().filter(|newer| {
                newer.config_hash == head.config_hash
                    && believe(&from, newer, Some(head.into())).is_ok()
            });
            if memory.pin.as_ref().is_some_and(|pin| *pin != from) {
                refuse(&"is of another cluster");
                return None;
            }
            if believe(&from, &head, None).is_err() {
                refuse(&"is not signed by its cluster");
                return None;
            }
            Some((newer.unwrap_or(head), from))
        }
        None => None,
    };
    let snapshot = Arc::new(loaded.snapshot);
    tracing::info!(config_hash = %snapshot.hash(), "found cached config, loading...");
    if !applier.start_with(&snapshot) {
        return None;
    }
    if let Some((head, from)) = signed {
        memory.applied = Some(Position::from(head));
        memory.pin = Some(from);
    }
    Some(Cached { snapshot, kong_hash: loaded.kong.map(|kong| kong.config_hash) })
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
