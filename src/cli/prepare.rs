//! `prepare`: the prefix made ready, and nothing started.

use super::SettingsArgs;
use super::output::Output;
use crate::settings::Settings;

/// Make the prefix ready without starting the node
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    _ignored: super::start::Ignored,
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let mut settings = Settings::load(&args.settings.sources())?;
    out.settings(&settings);
    settings.prepare()?;
    Ok(())
}
