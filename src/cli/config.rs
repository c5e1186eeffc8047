//! `config`: declarative files into the log and out of it, as Kong's subcommand of that name.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::SettingsArgs;
use super::database::{self, Target};
use super::output::Output;
use crate::clock::Clock;
use crate::domain::canonical::encode_value;
use crate::domain::decide::{self, Fresh};
use crate::domain::declarative;
use crate::domain::entity::Entity;
use crate::domain::event::{Change, EventKind};
use crate::domain::kinds::plugin;
use crate::pki::file::{Access, replace};
use crate::snapshot::file::parse_text;
use crate::writer::{WriteError, Writer};

/// Import, export and check declarative configuration
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the entities of a file to the log, as one event
    #[command(name = "db_import", alias = "db-import")]
    DbImport(FileArgs),
    /// Write the configuration to a file
    #[command(name = "db_export", alias = "db-export")]
    DbExport(ExportArgs),
    /// Check a file
    Parse(FileArgs),
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// Declarative configuration, YAML or JSON
    file: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// File to write
    #[arg(default_value = "kong.yml")]
    file: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    match args.verb {
        Verb::Parse(args) => {
            let target = Target::find(args.settings)?;
            read(&target, &args.file, out)?;
            out.say("parse successful");
            Ok(())
        }
        Verb::DbImport(args) => {
            let target = Target::find(args.settings)?;
            let entities = read(&target, &args.file, out)?;
            out.say("parse successful, beginning import");
            database::block_on(import(&target, entities))?;
            out.say("import successful");
            Ok(())
        }
        Verb::DbExport(args) => {
            if args.file.exists() {
                bail!("{} already exists. Will not overwrite it.", args.file.display());
            }
            database::block_on(export(args))
        }
    }
}

fn read(target: &Target, file: &std::path::Path, out: &Output) -> anyhow::Result<Vec<Entity>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let tree = parse_text(&file.display().to_string(), &text).context("Failed parsing")?;
    let clock = Clock::System;
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    let entities = declarative::parse(&target.catalog, &tree, &mut fresh)
        .map_err(|rejection| anyhow::anyhow!("Failed parsing:\n{}", rejection.message()))?;
    for entity in entities.iter().filter(|entity| entity.kind() == plugin::KIND) {
        if let Some(name) = target.catalog.unhandled(plugin::KIND, &entity.document()) {
            out.warn(&format!(
                "this version has no handler for plugin '{name}' ({}): data planes answer 503 to \
                 the requests that it applies to",
                entity.id()
            ));
        }
    }
    Ok(entities)
}

/// Upserts the entities, as Kong's import does: what the file does not have stays.
async fn import(target: &Target, entities: Vec<Entity>) -> anyhow::Result<()> {
    let (writer, task) = target.writer().await?;
    let catalog = target.catalog.clone();
    let origin = database::origin(EventKind::Imported, None);
    let work = async {
        let writer: Writer = writer;
        writer
            .write(origin, move |config, _| {
                let kept = declarative::keep_times(&catalog, config, entities.clone());
                let changes: Vec<_> = kept
                    .into_iter()
                    .filter(|entity| config.find(entity.key()) != Some(entity))
                    .map(Change::Upserted)
                    .collect();
                let mut after = config.clone();
                for change in &changes {
                    after.apply(&catalog, change);
                }
                let checked = decide::check_changes(&catalog, &after, &changes);
                checked.map_err(|(_, rejection)| rejection)?;
                Ok((changes, ()))
            })
            .await
    };
    let (written, ()) = tokio::join!(work, task.run(std::future::pending()));
    match written {
        Ok(_) => Ok(()),
        Err(WriteError::Rejected(rejection)) => bail!("Failed importing:\n{}", rejection.message()),
        Err(error) => Err(error).context("Failed importing"),
    }
}

async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let target = Target::find(args.settings)?;
    let log = target.open().await?;
    let history = crate::writer::history::History::new(log, target.catalog.clone());
    let head = history.newest().await.context("cannot read the log")?;
    let tree = declarative::export(&target.catalog, head.snapshot.config());
    let json = args.file.extension().is_some_and(|ending| ending == "json");
    let text = match json {
        true => encode_value(&tree),
        false => declarative::yaml::write(&tree),
    };
    // It may hold secrets, as the log does.
    replace(&args.file, text, Access::Private)
        .with_context(|| format!("cannot write {}", args.file.display()))
}
