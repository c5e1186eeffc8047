//! `stop`: ends a node at once.

use std::time::Duration;

use rustix::process::Signal;

use super::output::Output;
use super::{PrefixArgs, process};
use crate::settings::{Prefix, Settings};

/// How long a node may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stop the node
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    prefix: PrefixArgs,
}

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    stop(&Settings::find_prefix(&args.prefix.sources())?)?;
    out.say("Kong stopped");
    Ok(())
}

/// Sends SIGTERM and waits until the node is gone.
pub(super) fn stop(prefix: &Prefix) -> anyhow::Result<()> {
    let pid = process::require_running(prefix)?;
    process::send(pid, Signal::TERM)?;
    let seconds = PATIENCE.as_secs();
    anyhow::ensure!(
        process::wait_until_gone(prefix, PATIENCE),
        "process {pid} did not end within {seconds} seconds",
        pid = pid.as_raw_nonzero()
    );
    Ok(())
}
