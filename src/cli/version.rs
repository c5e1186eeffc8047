//! `version`: the level of Kong that is spoken, and with `-a` this product's own version.

use super::output::Output;
use crate::settings::KONG_VERSION;

/// Print the version
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print every version there is
    #[arg(short, long)]
    all: bool,
}

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    if args.all {
        let own = env!("CARGO_PKG_VERSION");
        out.say(&format!("Kong: {KONG_VERSION}\nhybridctl: {own}"));
    } else {
        out.say(KONG_VERSION);
    }
    Ok(())
}
