//! `log compact`: the oldest events go to an archive file, and the log begins after them.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use chrono::TimeDelta;
use serde_json::json;

use super::line::print;
use super::verify::Progress;
use crate::cli::JsonArgs;
use crate::cli::database::{self, Target};
use crate::cli::output::Output;
use crate::clock::Clock;
use crate::log::moment::Moment;
use crate::log::tokens::Expiry;
use crate::log::{LogDatabase, StoredSnapshot};
use crate::planes::identity;
use crate::promotion::keeper;
use crate::settings::Settings;
use crate::writer::compaction::{self, Keep, Plan, Referred};
use crate::writer::gc;
use crate::writer::history::History;

/// Move the oldest events to an archive file
///
/// The archive is written, read back and checked before anything is removed; it has the format of
/// `log export`, compressed, holds every secret, and is readable by its owner alone. The log then
/// begins with a checkpoint: the configuration after the last event that went is kept in full, and
/// so are older ones that a pin, a freeze, a rollout or a data plane refers to. Keep archives:
/// `log verify --archive` and `log import` take them.
///
/// Control planes may run meanwhile. A compaction that was cut off is finished by the next one.
/// SQLite uses the space again for what comes; `--vacuum` gives it back to the file system.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    keep: KeepArgs,
    /// File to write, or folder to write one in, named by its events [default: `archives` in the
    /// prefix]
    #[arg(long, value_name = "FOLDER|FILE")]
    archive: Option<PathBuf>,
    /// Tell what would go, and move nothing
    #[arg(long)]
    dry_run: bool,
    /// Give the space back to the file system afterwards: takes free space of the size of the
    /// database, and keeps control planes from writing meanwhile
    #[arg(long)]
    vacuum: bool,
    #[command(flatten)]
    common: JsonArgs,
}

/// Which events stay; the newest one always does.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct KeepArgs {
    /// Keep events that are younger than this, such as 90d, 12h or 4w
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    keep: Option<TimeDelta>,
    /// Keep so many of the newest events
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    keep_events: Option<u64>,
    /// Keep the events from this position or time on
    #[arg(long, value_name = "SEQ|TIME")]
    before: Option<Moment>,
}

fn length(text: &str) -> Result<TimeDelta, String> {
    match text.parse() {
        Ok(Expiry::After(length)) => Ok(length),
        _ => Err("expected a length such as 90d".to_owned()),
    }
}

impl KeepArgs {
    async fn resolve(&self, history: &History) -> anyhow::Result<Keep> {
        if let Some(count) = self.keep_events {
            return Ok(Keep::Events(count));
        }
        Ok(match (self.keep, self.before) {
            (Some(length), _) => {
                let time = Clock::System.now().checked_sub_signed(length);
                Keep::Since(time.context("--keep is too long ago")?)
            }
            (None, Some(Moment::Time(time))) => Keep::Since(time),
            (None, Some(moment)) => {
                Keep::From(history.resolve(moment).await.context("cannot find --before")?)
            }
            (None, None) => return Err(anyhow!("say what to keep")),
        })
    }
}

/// What was moved, or would be.
struct Moved {
    plan: Option<Plan>,
    archive: Option<PathBuf>,
    /// How many events were removed, those of an attempt before included.
    removed: u64,
    /// What is referred to and was gone before.
    lost: Vec<StoredSnapshot>,
}

/// Moves events away.
pub(super) async fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let target = Target::find(args.common.settings.clone())?;
    let log = target.open().await?;
    let history = History::new(log.clone(), target.catalog.clone());
    let keep = args.keep.resolve(&history).await?;
    let plan = compaction::plan(&history, keep).await.context("cannot compact the log")?;
    let mut moved = Moved { plan, archive: None, removed: 0, lost: Vec::new() };
    if !args.dry_run {
        if let Some(plan) = &moved.plan {
            let path = place(&args, &target.settings, plan)?;
            archive(&log, plan, &path).await?;
            checkpoint(&history, plan, &path).await?;
            moved.archive = Some(path);
        }
        remove(&log, &history, &mut moved).await?;
    }
    tell(&args, &moved, out)?;
    if args.vacuum && !args.dry_run {
        let done = log.vacuum().await.context("cannot give the space back")?;
        if !done {
            out.warn("--vacuum does nothing here: the database frees its space by itself");
        }
    }
    log.close().await;
    Ok(())
}

/// Returns where the archive goes; makes the folder.
fn place(args: &Args, settings: &Settings, plan: &Plan) -> anyhow::Result<PathBuf> {
    let default = settings.prefix.join("archives");
    let path = args.archive.as_deref().unwrap_or(&default);
    let is_folder = args.archive.is_none()
        || path.is_dir()
        || path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if !is_folder {
        return Ok(path.to_owned());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))?;
    // Numbers of one length, so that names are in the order of the events.
    Ok(path.join(format!("log-{:012}-{:012}.jsonl.gz", plan.first().0, plan.end.seq.0)))
}

/// Writes the archive and reads it back.
async fn archive(log: &Arc<dyn LogDatabase>, plan: &Plan, path: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot archive events in {}", path.display());
    let meta = identity::meta(&**log, &Clock::System).await?;
    let mut progress = Progress::new("archived", plan.end.seq.0);
    let written = compaction::archive(&**log, meta, plan, path, |seq| progress.at(seq.0)).await;
    progress.end();
    written.with_context(failed)?;
    compaction::check(plan, path).with_context(failed)
}

async fn checkpoint(history: &History, plan: &Plan, path: &Path) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    compaction::anchor(history, plan).await.context("cannot store the checkpoint's config")?;
    let (log, now) = (history.log(), Clock::System.now());
    let recorded = compaction::record(&**log, plan, name, now, database::actor()).await;
    recorded.context("cannot record the checkpoint")
}

/// Removes what is in archives, but for what is referred to.
async fn remove(
    log: &Arc<dyn LogDatabase>,
    history: &History,
    moved: &mut Moved,
) -> anyhow::Result<()> {
    let configs = gc::configs_of_data_planes(&**log, Clock::System.now()).await;
    let held = keeper::held(&**log).await.context("cannot read the pins")?;
    let referred = Referred {
        positions: held.iter().map(|held| (held.seq, held.config_hash)).collect(),
        configs: configs.context("cannot read what data planes run")?,
    };
    let kept = compaction::retain(history, &referred).await;
    moved.lost = kept.context("cannot store what is referred to")?;
    let floor = history.floor().await.context("cannot read the log")?;
    let oldest = log.read(Default::default(), 1).await.context("cannot read the log")?;
    let oldest = oldest.first().map_or(floor.next(), |row| row.seq);
    moved.removed = floor.next().0.saturating_sub(oldest.0);
    let mut progress = Progress::new("removed", floor.0);
    let removed = compaction::remove(&**log, |seq| progress.at(seq.0)).await;
    progress.end();
    removed.context("cannot remove events that are in archives; run this again")
}

fn tell(args: &Args, moved: &Moved, out: &Output) -> anyhow::Result<()> {
    let (plan, archive) = (moved.plan.as_ref(), moved.archive.as_ref());
    let archive = archive.map(|path| path.display().to_string());
    for lost in &moved.lost {
        let (hash, seq) = (lost.config_hash.short(), lost.seq);
        out.warn(&format!("config {hash} at {seq} is referred to, but an archive has its events"));
    }
    if args.common.json {
        return print(
            &json!({
                "dry_run": args.dry_run,
                "first": plan.map(Plan::first),
                "last": plan.map(|plan| plan.end.seq),
                "hash": plan.map(|plan| plan.end.hash),
                "config_hash": plan.map(|plan| plan.end.config_hash),
                "events": plan.map_or(0, Plan::count),
                "removed": moved.removed,
                "archive": archive,
            })
            .to_string(),
        );
    }
    match (plan, archive) {
        (None, _) if moved.removed > 0 => out.say(&format!(
            "{} events that are in an archive already were removed; there is nothing more to move.",
            moved.removed
        )),
        (None, _) => out.say("There is nothing to move."),
        (Some(plan), None) => out.say(&format!(
            "Would move {} events ({} to {}) and keep {}.",
            plan.count(),
            plan.first(),
            plan.end.seq,
            plan.newest.0 - plan.end.seq.0
        )),
        (Some(plan), Some(archive)) => out.say(&format!(
            "{} events ({} to {}) moved to {archive}; last hash {}, config {}. Keep that file.",
            plan.count(),
            plan.first(),
            plan.end.seq,
            plan.end.hash,
            plan.end.config_hash
        )),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_count_with_a_unit() {
        assert_eq!(length("90d"), Ok(TimeDelta::days(90)));
        assert_eq!(length("4w"), Ok(TimeDelta::days(28)));
        for text in ["", "90", "d", "2026-01-31T08:00:00Z", "1y"] {
            assert!(length(text).is_err(), "{text}");
        }
    }
}
