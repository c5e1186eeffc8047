//! `rollback`: brings an earlier config back, also beside a running control plane.

use anyhow::Context as _;

use super::SettingsArgs;
use super::database::{self, Target};
use super::difference;
use super::output::Output;
use crate::domain::event::EventKind;
use crate::domain::shrink::Shrink;
use crate::log::moment::Moment;
use crate::writer::{RollbackError, WriteError, Writer, rollback_changes};

/// Bring the config of an earlier moment back, as one more event
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First characters of a config hash (8 at least), position, or time
    #[arg(value_name = "HASH|SEQ|TIME")]
    to: Moment,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Go back even if more than half of the routes or services go
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Appends the rollback.
pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let target = Target::find(args.settings.clone())?;
    // A rollback of a log that is not there is a mistake, not an empty log.
    target.expect()?;
    database::block_on(async {
        let (writer, task) = target.writer().await?;
        if args.dry_run {
            return try_out(&target, &writer, &args, out).await;
        }
        let origin = database::origin(EventKind::RolledBack, args.reason);
        let before = writer.head().seq;
        let work = async {
            let head = writer.force(args.force).rollback(origin, args.to).await;
            drop(writer);
            head
        };
        let (head, ()) = tokio::join!(work, task.run(std::future::pending()));
        let head = match head {
            Err(RollbackError::Write(WriteError::Shrinks(shrink))) => return Err(refused(&shrink)),
            head => head.with_context(|| format!("cannot roll back to {}", args.to))?,
        };
        let done = head.seq != before;
        if args.json {
            let shown = serde_json::json!({
                "seq": head.seq, "config_hash": head.config_hash, "changed": done,
            });
            println!("{shown}");
        } else if done {
            out.say(&format!(
                "Rolled back to {}: config {} at {}.",
                args.to, head.config_hash, head.seq
            ));
        } else {
            let hash = head.config_hash.short();
            out.say(&format!("Config {hash} is in force already; nothing was written."));
        }
        Ok(())
    })
}

/// Says that a write takes away too much, and how to have it nevertheless.
pub(super) fn refused(shrink: &Shrink) -> anyhow::Error {
    anyhow::anyhow!("this would remove {shrink}: say --force if it is meant")
}

async fn try_out(
    target: &Target,
    writer: &Writer,
    args: &Args,
    out: &Output,
) -> anyhow::Result<()> {
    let failed = || format!("cannot roll back to {}", args.to);
    let then = writer.at(args.to).await.with_context(failed)?;
    let head = writer.head();
    let now = head.snapshot.config();
    let changes = rollback_changes(&target.catalog, now, then.snapshot.config());
    let changes = changes.map_err(|why| anyhow::anyhow!(why.message())).with_context(failed)?;
    difference::print(&target.catalog, now, &changes, args.json);
    if !args.json {
        let hash = then.config_hash.short();
        out.say(&format!("{} changes would lead to config {hash}.", changes.len()));
    }
    match Shrink::of(now, &changes).filter(|_| !args.force) {
        Some(shrink) => Err(refused(&shrink)),
        None => Ok(()),
    }
}
