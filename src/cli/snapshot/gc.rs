//! `snapshot gc` and `snapshot verify` without a file: the snapshots that the database stores.

use anyhow::{Context as _, ensure};
use chrono::TimeDelta;
use serde_json::json;

use super::history;
use crate::cli::JsonArgs;
use crate::cli::output::Output;
use crate::clock::Clock;
use crate::promotion::keeper;
use crate::writer::gc::{self, Policy};

#[derive(Debug, clap::Args)]
pub(super) struct Gc {
    /// How many of the newest to keep [default: the setting `snapshot_keep`]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Keep those of events that are younger, in seconds [default: `snapshot_keep_age`]
    #[arg(long, value_name = "SECONDS")]
    age: Option<u32>,
    /// Tell what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: JsonArgs,
}

pub(super) async fn run(args: Gc, out: &Output) -> anyhow::Result<()> {
    let (target, history) = history(&args.common).await?;
    let (log, now) = (history.log(), Clock::System.now());
    let settings = target.settings.snapshot_keep;
    let policy = Policy {
        keep: args.keep.map_or(settings.count, |keep| keep as usize),
        age: match args.age {
            Some(seconds) => TimeDelta::seconds(seconds.into()),
            None => TimeDelta::from_std(settings.age).unwrap_or(TimeDelta::MAX),
        },
    };
    let database = target.open().await?;
    let retained = gc::configs_of_data_planes(&*database, now).await;
    let mut retained = retained.context("cannot read which data planes there are")?;
    let held = keeper::held(&*database).await.context("cannot read the pins")?;
    retained.extend(held.iter().map(|held| held.config_hash));
    let cleared = gc::clear(&**log, policy, &retained, now, args.dry_run).await;
    let cleared = cleared.context("cannot clear snapshots away")?;
    if args.common.json {
        let shown = json!({
            "dry_run": args.dry_run,
            "snapshots_removed": cleared.snapshots.iter().map(|it| json!({
                "seq": it.seq, "config_hash": it.config_hash,
            })).collect::<Vec<_>>(),
            "snapshots_kept": cleared.kept,
            "nodes_removed": cleared.nodes,
            "interrupted": cleared.interrupted,
        });
        println!("{shown}");
        return Ok(());
    }
    let (count, kept, nodes) = (cleared.snapshots.len(), cleared.kept, cleared.nodes);
    let verb = if args.dry_run { "Would remove" } else { "Removed" };
    out.say(&format!("{verb} {count} stored snapshots and {nodes} nodes; {kept} snapshots stay."));
    if cleared.interrupted {
        out.warn("others store snapshots so often that nodes were left for the next time");
    }
    Ok(())
}

/// Rebuilds every stored snapshot from its nodes, and checks it against the log.
pub(super) async fn verify(common: JsonArgs, out: &Output) -> anyhow::Result<()> {
    let (_, history) = history(&common).await?;
    let stored = history.log().stored_snapshots().await.context("cannot read the log")?;
    let mut damaged = 0;
    for snapshot in &stored {
        let why = history.load(*snapshot).await.err();
        damaged += usize::from(why.is_some());
        let why = why.map(|why| format!("{:#}", anyhow::Error::new(why)));
        if common.json {
            let (seq, hash) = (snapshot.seq, snapshot.config_hash);
            println!("{}", json!({"seq": seq, "config_hash": hash, "damaged": why}));
        } else if let Some(why) = why {
            out.error(&format!("{} at {}: {why}", snapshot.config_hash.short(), snapshot.seq));
        }
    }
    ensure!(damaged == 0, "{damaged} of {} stored snapshots are damaged", stored.len());
    if !common.json {
        out.say(&format!("{} stored snapshots, all whole.", stored.len()));
    }
    Ok(())
}
