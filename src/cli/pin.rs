//! `pin`: data planes that get one config, whatever the head is.

use std::collections::BTreeMap;

use anyhow::Context as _;
use uuid::Uuid;

use super::JsonArgs;
use super::database;
use super::output::Output;
use super::promotion::Promotion;
use crate::admin::promotion::describe_pin;
use crate::log::moment::Moment;
use crate::promotion::decision::Selector;
use crate::promotion::order;
use crate::promotion::state::Pin;

/// Pin data planes to a config, list and remove pins
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Give data planes this config, whatever the head is
    Set {
        /// First characters of a config hash (8 at least), position, or time
        #[arg(value_name = "HASH|SEQ|TIME")]
        to: Moment,
        #[command(flatten)]
        who: SelectorArgs,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// List the pins, oldest first
    List {
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Let the pinned data planes go on to the newest head
    Remove {
        /// The pin's number
        #[arg(value_name = "PIN")]
        pin: u64,
        #[command(flatten)]
        common: JsonArgs,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct SelectorArgs {
    /// The data plane with this id
    #[arg(long, value_name = "ID")]
    node: Option<Uuid>,
    /// All data planes that have every one of these labels
    #[arg(long, value_name = "NAME=VALUE,…", value_parser = order::parse_labels)]
    labels: Option<BTreeMap<String, String>>,
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Verb::Set { to, who, reason, common } => set(to, who, reason, common, out).await,
            Verb::List { common } => list(common).await,
            Verb::Remove { pin, common } => remove(pin, common, out).await,
        }
    })
}

async fn set(
    to: Moment,
    who: SelectorArgs,
    reason: Option<String>,
    common: JsonArgs,
    out: &Output,
) -> anyhow::Result<()> {
    let who = match who.node {
        Some(id) => Selector::NodeId(id),
        None => Selector::Labels(who.labels.unwrap_or_default()),
    };
    let mut promotion = Promotion::open(common.settings).await?;
    let to = promotion.at(to).await?;
    promotion.decide(reason, |state| order::pin(state, who.clone(), to)).await?;
    let pin = promotion.state.pins.values().find(|pin| pin.who == who);
    let pin = pin.context("somebody has removed the pin again")?;
    if common.json {
        println!("{}", describe_pin(pin));
    } else {
        out.say(&line(pin));
    }
    Ok(())
}

async fn list(common: JsonArgs) -> anyhow::Result<()> {
    let promotion = Promotion::open(common.settings).await?;
    for pin in promotion.state.pins.values() {
        match common.json {
            true => println!("{}", describe_pin(pin)),
            false => println!("{}", line(pin)),
        }
    }
    Ok(())
}

fn line(pin: &Pin) -> String {
    let (at, hash) = (pin.position.seq, pin.position.config_hash.short());
    let made = pin.made.at.format("%Y-%m-%d");
    let reason = pin.made.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!(
        "{}  {} stays at {at} (config {hash}), by {} on {made}{reason}",
        pin.made.id, pin.who, pin.made.actor
    )
}

async fn remove(pin: u64, common: JsonArgs, out: &Output) -> anyhow::Result<()> {
    let mut promotion = Promotion::open(common.settings).await?;
    let removed = promotion.state.pins.get(&pin).cloned();
    promotion.decide(None, |state| order::unpin(state, pin)).await?;
    match removed {
        Some(removed) if common.json => println!("{}", describe_pin(&removed)),
        _ => out.say(&format!("Pin {pin} is removed.")),
    }
    Ok(())
}
