//! `health`: whether a node runs.

use super::output::Output;
use super::{PrefixArgs, process};
use crate::settings::Settings;

/// Tell whether the node runs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    prefix: PrefixArgs,
}

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let prefix = Settings::find_prefix(&args.prefix.sources())?;
    let path = prefix.path().display();
    anyhow::ensure!(prefix.path().is_dir(), "no such prefix: {path}");
    if process::running(&prefix).is_none() {
        out.say("nginx.......not running\n");
        anyhow::bail!("Kong is not running at {path}");
    }
    out.say(&format!("nginx.......running\n\nKong is healthy at {path}"));
    Ok(())
}
