//! `rollback`: brings an earlier config back, also beside a running control plane.

use anyhow::Context as _;

use super::SettingsArgs;
use super::database::{self, Target};
use super::output::Output;
use crate::domain::event::EventKind;
use crate::log::moment::Moment;

/// Bring the config of an earlier moment back, as one more event
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First characters of a config hash (8 at least), position, or time
    #[arg(value_name = "HASH|SEQ|TIME")]
    to: Moment,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
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
        let origin = database::origin(EventKind::RolledBack, args.reason);
        let (writer, task) = target.writer().await?;
        let before = writer.head().seq;
        let work = async {
            let head = writer.rollback(origin, args.to).await;
            drop(writer);
            head
        };
        let (head, ()) = tokio::join!(work, task.run(std::future::pending()));
        let head = head.with_context(|| format!("cannot roll back to {}", args.to))?;
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
