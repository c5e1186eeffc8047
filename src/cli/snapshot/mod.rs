//! `snapshot`: the configurations that the log has had, by hash.

mod file;
mod gc;
mod mirror;
mod show;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::JsonArgs;
use super::database::{self, Target};
use super::output::Output;
use crate::log::moment::Moment;
use crate::writer::Head;
use crate::writer::history::History;

/// List, show, compare, export, import, verify, publish and clear away snapshots
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the newest snapshots
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        last: u32,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Show what is in a snapshot
    Show {
        /// First characters of a hash (8 at least), a position, or a time
        #[arg(value_name = "HASH|SEQ|TIME")]
        moment: Moment,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Compare two snapshots, by entity and field, with secrets masked
    Diff {
        /// The older one
        #[arg(value_name = "HASH|SEQ|TIME")]
        from: Moment,
        /// The newer one
        #[arg(value_name = "HASH|SEQ|TIME")]
        to: Moment,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Write a snapshot: as the file that starts a data plane, as YAML, or as a pack of nodes
    Export(file::Export),
    /// Make the content of a file the configuration, as one event
    Import(file::Import),
    /// Check a file, a pack, or all snapshots that the database stores
    Verify {
        /// File or folder to check; without one, what the database stores
        file: Option<PathBuf>,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Put the newest snapshot where data planes fetch it: `cluster_snapshot_mirror`
    Publish(mirror::Publish),
    /// Remove stored snapshots that nothing needs; the log still leads to every one of them
    Gc(gc::Gc),
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Verb::List { last, common } => show::list(last, common).await,
            Verb::Show { moment, common } => show::show(moment, common).await,
            Verb::Diff { from, to, common } => show::diff(from, to, common).await,
            Verb::Export(args) => file::export(args, out).await,
            Verb::Import(args) => file::import(args, out).await,
            Verb::Verify { file: Some(file), common } => file::verify(&file, common),
            Verb::Verify { file: None, common } => gc::verify(common, out).await,
            Verb::Publish(args) => mirror::publish(args, out).await,
            Verb::Gc(args) => gc::run(args, out).await,
        }
    })
}

async fn history(common: &JsonArgs) -> anyhow::Result<(Target, History)> {
    let target = Target::find(common.settings.clone())?;
    let log = target.open().await?;
    let history = History::new(log, target.catalog.clone());
    Ok((target, history))
}

async fn at(history: &History, moment: Moment) -> anyhow::Result<Arc<Head>> {
    history.at(moment).await.with_context(|| format!("cannot go to {moment}"))
}

/// Returns the head of a moment, the newest without one.
async fn at_or_newest(history: &History, moment: Option<Moment>) -> anyhow::Result<Arc<Head>> {
    match moment {
        Some(moment) => at(history, moment).await,
        None => Ok(Arc::new(history.newest().await.context("cannot read the log")?)),
    }
}
