//! `freeze` and `unfreeze`: whether data planes receive new heads.

use super::JsonArgs;
use super::database;
use super::output::Output;
use super::promotion::Promotion;
use crate::admin::promotion::describe_freeze;
use crate::log::moment::Moment;
use crate::promotion::order;

/// Keep data planes at the head that they receive; writes go on
#[derive(Debug, clap::Args)]
pub(super) struct FreezeArgs {
    /// Freeze only if this is the head: a config hash, position, or time
    #[arg(long, value_name = "HASH|SEQ|TIME")]
    at: Option<Moment>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: JsonArgs,
}

/// Announce new heads to data planes again
#[derive(Debug, clap::Args)]
pub(super) struct UnfreezeArgs {
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: JsonArgs,
}

/// Freezes the head.
pub(super) fn freeze(args: FreezeArgs, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        let mut promotion = Promotion::open(args.common.settings).await?;
        let newest = promotion.newest().await?;
        let at = match args.at {
            Some(moment) => Some(promotion.at(moment).await?),
            None => None,
        };
        let order = |state: &_| order::freeze(state, newest, at);
        let changed = promotion.decide(args.reason, order).await?;
        let announced = promotion.state.announced(newest);
        let at = format!("{} (config {})", announced.seq, announced.config_hash.short());
        let text = match changed {
            true => format!("Data planes stay at {at} until `hybridctl unfreeze`."),
            false => format!("Data planes are frozen at {at} already."),
        };
        tell(&promotion, newest, args.common.json, changed, &text, out);
        Ok(())
    })
}

/// Lets new heads go out again.
pub(super) fn unfreeze(args: UnfreezeArgs, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        let mut promotion = Promotion::open(args.common.settings).await?;
        let newest = promotion.newest().await?;
        let order = |state: &_| Ok(order::unfreeze(state));
        let changed = promotion.decide(args.reason, order).await?;
        let text = match changed {
            true => format!("Data planes receive new heads; the newest is {}.", newest.seq),
            false => "Nothing is frozen.".to_owned(),
        };
        tell(&promotion, newest, args.common.json, changed, &text, out);
        Ok(())
    })
}

fn tell(
    promotion: &Promotion,
    newest: crate::promotion::decision::Position,
    json: bool,
    changed: bool,
    text: &str,
    out: &Output,
) {
    if json {
        let mut shown = describe_freeze(&promotion.state, newest);
        shown["changed"] = changed.into();
        println!("{shown}");
    } else {
        out.say(text);
    }
}
