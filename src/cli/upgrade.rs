//! `upgrade`: this program, and new settings, in the place of the node that runs, without a request
//! lost. The way back is the same command of the program before.

use anyhow::Context as _;

use super::output::Output;
use super::{SettingsArgs, process, reload, start};
use crate::settings::Settings;

/// Put this program in the place of the node that runs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Seconds that connections of the old process may go on
    #[arg(short, long, default_value_t = 600)]
    timeout: u32,
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let sources = args.settings.sources();
    let prefix = Settings::find_prefix(&sources)?;
    let old = process::require_running(&prefix)?;
    let mut settings = reload::settings(sources, &prefix)?;
    out.settings(&settings);
    let env = prefix.kong_env();
    let before = std::fs::read(&env);
    let before = before.with_context(|| format!("cannot read {}", env.display()))?;
    settings.prepare()?;
    if let Err(error) = start::spawn(&settings, &["--upgrade", &args.timeout.to_string()]) {
        // The old process serves on, by its own settings.
        std::fs::write(&env, before)
            .with_context(|| format!("cannot restore {}", env.display()))?;
        let pid = old.as_raw_nonzero();
        return Err(error.context(format!("process {pid} goes on, the new one did not start")));
    }
    out.say("Kong upgraded");
    Ok(())
}
