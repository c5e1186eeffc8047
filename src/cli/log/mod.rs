//! `log`: who changed what, what the config was at a moment, and whether the log was tampered with.

mod bisect;
mod blame;
mod compact;
mod line;
mod show;
mod transfer;
mod verify;

use anyhow::Context as _;
use clap::Subcommand;

pub(super) use self::line::{plain, print};
use super::SettingsArgs;
use super::database::{self, Target};
use super::output::Output;
use crate::domain::catalog::Catalog;
use crate::domain::declarative;
use crate::domain::entity::Kind;
use crate::log::moment::Moment;
use crate::writer::history::History;

/// Show, explain, replay, verify, copy, compact or bisect the event log
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(Box<show::Args>),
    Blame(blame::Args),
    Bisect(bisect::Args),
    /// Print the config of a moment as a declarative file, secrets included
    Replay {
        /// Position, first characters of a config hash, or time
        #[arg(long, value_name = "SEQ|HASH|TIME")]
        to: Moment,
        /// Print JSON, which is what is printed anyway
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    Verify(verify::Args),
    Compact(compact::Args),
    Export(transfer::ExportArgs),
    Import(transfer::ImportArgs),
    NewEpoch(transfer::NewEpochArgs),
}

/// Runs one of the verbs.
pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Verb::Show(args) => show::run(*args, out).await,
            Verb::Bisect(args) => bisect::run(args).await,
            Verb::Blame(args) => blame::run(args).await,
            Verb::Replay { to, json: _, settings } => replay(&history(settings).await?, to).await,
            Verb::Verify(args) => verify::run(args).await,
            Verb::Compact(args) => compact::run(args, out).await,
            Verb::Export(args) => transfer::export(args, out).await,
            Verb::Import(args) => transfer::import(args, out).await,
            Verb::NewEpoch(args) => transfer::new_epoch(args, out).await,
        }
    })
}

async fn history(settings: SettingsArgs) -> anyhow::Result<History> {
    let target = Target::find(settings)?;
    let log = target.open().await?;
    Ok(History::new(log, target.catalog))
}

/// Returns the kind of a name, such as `routes` or `route`.
fn kind(catalog: &Catalog, name: &str) -> anyhow::Result<Kind> {
    let found = catalog.kind(name).or_else(|| catalog.kind(&format!("{name}s")));
    found.with_context(|| format!("no entities are of the kind {name:?}"))
}

async fn replay(history: &History, to: Moment) -> anyhow::Result<()> {
    let head = history.at(to).await.with_context(|| format!("cannot replay to {to}"))?;
    let tree = declarative::export(history.catalog(), head.snapshot.config());
    print(&serde_json::to_string_pretty(&tree)?)
}
