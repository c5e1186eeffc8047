//! The log's database, as commands open it: beside a running control plane, or without one.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio::runtime::Runtime;

use super::SettingsArgs;
use super::process;
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::event::{EventKind, Origin};
use crate::log::LogDatabase;
use crate::planes;
use crate::planes::trial::TrialSettings;
use crate::settings::{Database, Settings};
use crate::writer::{Writer, WriterTask};

/// What a command about the log needs.
pub(super) struct Target {
    pub(super) settings: Settings,
    pub(super) catalog: Arc<Catalog>,
    trial: TrialSettings,
}

impl Target {
    /// Finds the log: of the node that runs or ran in the prefix, else of the settings.
    pub(super) fn find(args: SettingsArgs) -> anyhow::Result<Self> {
        Self::of(node_settings(args)?)
    }

    /// Takes the log of settings.
    pub(super) fn of(settings: Settings) -> anyhow::Result<Self> {
        ensure!(settings.database != Database::Off, "a node with database = off has no log");
        let catalog = Arc::new(planes::catalog(&settings)?);
        let trial = TrialSettings::of(&settings);
        Ok(Self { settings, catalog, trial })
    }

    /// Checks that there is a log already, where one would be made.
    pub(super) fn expect(&self) -> anyhow::Result<()> {
        if let Database::Sqlite(path) = &self.settings.database {
            ensure!(path.exists(), "cannot open the log {}: there is no such file", path.display());
        }
        Ok(())
    }

    /// Returns what a data plane that tries out a config takes over.
    pub(super) fn trial(&self) -> TrialSettings {
        self.trial.clone()
    }

    /// Opens the log, which must be there.
    pub(super) async fn open(&self) -> anyhow::Result<Arc<dyn LogDatabase>> {
        self.expect()?;
        planes::database::open_stored(&self.settings).await
    }

    /// Opens the log with a writer; a SQLite file is made if there is none.
    pub(super) async fn writer(&self) -> anyhow::Result<(Writer, WriterTask)> {
        let log = self.create().await?;
        planes::database::writer(&self.settings, log, &self.catalog, &Clock::System).await
    }

    /// Opens the log; a SQLite file is made if there is none.
    pub(super) async fn create(&self) -> anyhow::Result<Arc<dyn LogDatabase>> {
        if let Database::Sqlite(path) = &self.settings.database
            && let Some(directory) = path.parent()
        {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        planes::database::open_stored(&self.settings).await
    }
}

/// Returns the settings of the node that runs or ran in the prefix, else those that are given.
pub(super) fn node_settings(args: SettingsArgs) -> anyhow::Result<Settings> {
    let sources = args.sources();
    let prefix = Settings::find_prefix(&sources)?;
    let known = prefix.kong_env().exists() && sources.conf.is_none();
    Ok(match known || process::running(&prefix).is_some() {
        true => Settings::of_node(&prefix, &sources.env)?,
        false => Settings::load(&sources)?,
    })
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
    runtime()?.block_on(work)
}

/// Starts what a command waits with: an open database belongs to it.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("cannot start the runtime")
}
