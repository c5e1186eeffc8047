//! `restart`: stop, then start.

use super::output::Output;
use super::{process, start, stop};
use crate::settings::Settings;

/// Restart the node
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    start: start::Args,
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let sources = args.start.settings.clone().sources();
    let prefix = Settings::find_prefix(&sources)?;
    // Wrong settings leave the old node running.
    Settings::load(&sources)?;
    if process::running(&prefix).is_some() {
        stop::stop(&prefix)?;
    }
    start::run(args.start, out)
}
