//! The log's database, as commands open it: beside a running control plane, or without one.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::SettingsArgs;
use super::process;
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::event::{EventKind, Origin};
use crate::log::sqlite::SqliteLog;
use crate::planes;
use crate::settings::{Database, Settings, SnapshotKeep};
use crate::writer::{Writer, WriterTask};

/// What a command about the log needs.
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) catalog: Arc<Catalog>,
    pub(super) snapshot_keep: SnapshotKeep,
    pub(super) settings: Settings,
}

impl Target {
    /// Finds the log: of the node that runs or ran in the prefix, else of the settings.
    pub(super) fn find(args: SettingsArgs) -> anyhow::Result<Self> {
        let sources = args.sources();
        let prefix = Settings::find_prefix(&sources)?;
        let known = prefix.kong_env().exists() && sources.conf.is_none();
        let settings = match known || process::running(&prefix).is_some() {
            true => Settings::of_node(&prefix, &sources.env)?,
            false => Settings::load(&sources)?,
        };
        Self::of(&settings)
    }

    /// Takes the log of settings.
    pub(super) fn of(settings: &Settings) -> anyhow::Result<Self> {
        let catalog = Arc::new(planes::catalog(settings)?);
        match &settings.database {
            Database::Sqlite(path) => Ok(Self {
                path: path.clone(),
                catalog,
                snapshot_keep: settings.snapshot_keep,
                settings: settings.clone(),
            }),
            Database::Off => bail!("a node with database = off has no log"),
        }
    }

    /// Opens the log, which must be there.
    pub(super) async fn open(&self) -> anyhow::Result<SqliteLog> {
        let log = SqliteLog::open_existing(&self.path).await;
        log.with_context(|| format!("cannot open the log {}", self.path.display()))
    }

    /// Opens the log, made if it is not there, with a writer.
    pub(super) async fn writer(&self) -> anyhow::Result<(Writer, WriterTask)> {
        let log = Arc::new(self.create().await?);
        let opened = Writer::open(log, self.catalog.clone(), Clock::System).await;
        opened.context("cannot read the log")
    }

    /// Opens the log, made if it is not there.
    pub(super) async fn create(&self) -> anyhow::Result<SqliteLog> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let log = SqliteLog::open(&self.path).await;
        log.with_context(|| format!("cannot open the log {}", self.path.display()))
    }
}

/// Who writes through the command line.
pub(super) fn actor() -> String {
    std::env::var("USER").unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// What is recorded with a write of the command line.
pub(super) fn origin(kind: EventKind, reason: Option<String>) -> Origin {
    Origin {
        actor: actor(),
        request_id: Clock::System.id().to_string(),
        source: "cli".to_owned(),
        kind,
        reason,
    }
}

/// Runs the work of a command that waits for a database.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(work)
}
