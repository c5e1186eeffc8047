//! `quarantine`: configs that a data plane crashed on, which nobody else gets.

use anyhow::Context as _;

use super::JsonArgs;
use super::database;
use super::output::Output;
use super::promotion::Promotion;
use crate::admin::promotion::describe_quarantine;
use crate::promotion::order;
use crate::promotion::quarantine::Quarantine;

/// List configs that data planes crashed on, announce one again
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the configs in quarantine, oldest first
    List {
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Announce a config to all data planes again, whatever they say of it
    Release {
        /// First characters of the config's hash (8 at least)
        #[arg(value_name = "HASH")]
        hash: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        common: JsonArgs,
    },
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Verb::List { common } => list(common).await,
            Verb::Release { hash, reason, common } => release(&hash, reason, common, out).await,
        }
    })
}

async fn list(common: JsonArgs) -> anyhow::Result<()> {
    let promotion = Promotion::open(common.settings).await?;
    for kept in promotion.state.quarantine.all() {
        match common.json {
            true => println!("{}", describe_quarantine(kept)),
            false => println!("{}", line(kept)),
        }
    }
    Ok(())
}

fn line(kept: &Quarantine) -> String {
    let (at, hash) = (kept.made.at.format("%Y-%m-%d %H:%M:%S"), kept.config_hash);
    format!("{hash}  {at}  data plane {}: {}", kept.node_id, kept.why)
}

async fn release(
    hash: &str,
    reason: Option<String>,
    common: JsonArgs,
    out: &Output,
) -> anyhow::Result<()> {
    let mut promotion = Promotion::open(common.settings).await?;
    let kept = promotion.state.quarantine.find(hash).cloned();
    let kept = kept.with_context(|| format!("no config in quarantine begins with {hash}"))?;
    promotion.decide(reason, |state| order::release(state, kept.config_hash)).await?;
    match common.json {
        true => println!("{}", describe_quarantine(&kept)),
        false => out.say(&format!("Config {} is announced again.", kept.config_hash.short())),
    }
    Ok(())
}
