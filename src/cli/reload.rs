//! `reload`: new settings for a running node.

use rustix::process::Signal;

use super::output::Output;
use super::{SettingsArgs, process, start};
use crate::settings::{Prefix, Settings, Sources};

/// Give the running node new settings
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    _ignored: start::Ignored,
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let sources = args.settings.sources();
    let prefix = Settings::find_prefix(&sources)?;
    let pid = process::require_running(&prefix)?;
    let mut settings = settings(sources, &prefix)?;
    out.settings(&settings);
    settings.prepare()?;
    process::send(pid, Signal::HUP)?;
    out.say("Kong reloaded");
    Ok(())
}

/// Loads settings for a node that runs: without a file that is named, over those that it has.
pub(super) fn settings(sources: Sources, prefix: &Prefix) -> anyhow::Result<Settings> {
    Ok(Settings::load(&Sources {
        conf: sources.conf.or_else(|| Some(prefix.kong_env())),
        env: sources.env,
        prefix: Some(prefix.path().display().to_string()),
    })?)
}
