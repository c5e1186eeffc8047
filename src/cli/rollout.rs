//! `rollout`: how new heads go to data planes, and how far the last one got.

use std::str::FromStr;

use super::JsonArgs;
use super::database;
use super::output::Output;
use super::promotion::Promotion;
use crate::admin::promotion::describe_rollout;
use crate::promotion::decision::{Plan, Wave};
use crate::promotion::order;
use crate::promotion::rollout::Rollout;

/// Roll new heads out wave by wave
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Set the waves; after them comes everyone
    Set {
        /// A number of data planes, or labels such as region=eu,tier=edge
        #[arg(value_name = "COUNT|NAME=VALUE,…", required = true)]
        waves: Vec<WaveArg>,
        /// How long a wave must have served the head before the next one
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        quiet: u32,
        /// How long a wave may take to serve the head
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        timeout: u32,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Tell how far the last head got
    Show {
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Announce heads to all data planes at once
    Remove {
        #[command(flatten)]
        common: JsonArgs,
    },
}

#[derive(Clone, Debug)]
struct WaveArg(Wave);

impl FromStr for WaveArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(count) => Ok(Self(Wave::Count(count))),
            Err(_) => match order::parse_labels(text) {
                Ok(labels) => Ok(Self(Wave::Labels(labels))),
                Err(_) => Err("expected a number, or labels such as region=eu,tier=edge"),
            },
        }
    }
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Verb::Set { waves, quiet, timeout, reason, common } => {
                let waves = waves.into_iter().map(|wave| wave.0).collect();
                let plan = Plan { waves, quiet_seconds: quiet, timeout_seconds: timeout };
                set(Some(plan), reason, common, out).await
            }
            Verb::Show { common } => {
                let promotion = Promotion::open(common.settings.clone()).await?;
                tell(&promotion, &common, out);
                Ok(())
            }
            Verb::Remove { common } => set(None, None, common, out).await,
        }
    })
}

async fn set(
    plan: Option<Plan>,
    reason: Option<String>,
    common: JsonArgs,
    out: &Output,
) -> anyhow::Result<()> {
    let mut promotion = Promotion::open(common.settings.clone()).await?;
    let newest = promotion.newest().await?;
    promotion.decide(reason, |state| order::plan(state, newest, plan.clone())).await?;
    tell(&promotion, &common, out);
    Ok(())
}

fn tell(promotion: &Promotion, common: &JsonArgs, out: &Output) {
    if common.json {
        println!("{}", describe_rollout(&promotion.state));
        return;
    }
    match &promotion.state.rollout {
        None => out.say("New heads go to all data planes at once."),
        Some(rollout) => out.say(&progress(rollout)),
    }
}

fn progress(rollout: &Rollout) -> String {
    let waves = rollout.plan.waves.len() + 1;
    match (&rollout.active, &rollout.stopped) {
        (Some(active), _) if active.joined.is_empty() => format!(
            "Head {} is in wave {} of {waves}, where no data plane is yet.",
            active.target.seq,
            active.wave + 1,
        ),
        (Some(active), _) => format!(
            "Head {} is in wave {} of {waves}: {} of {} data planes serve it.",
            active.target.seq,
            active.wave + 1,
            active.applied.len(),
            active.joined.len()
        ),
        (None, Some(stop)) => format!(
            "Head {} was stopped, data planes are back at {}: data plane {} {}.",
            stop.target.seq, rollout.good.seq, stop.node_id, stop.why
        ),
        (None, None) => {
            format!("Head {} is everywhere; the next one takes {waves} waves.", rollout.good.seq)
        }
    }
}
