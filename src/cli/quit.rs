//! `quit`: ends a node after its last request.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::output::Output;
use super::{PrefixArgs, process, stop};
use crate::settings::Settings;

/// Stop the node after the requests it serves
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Seconds to wait for the last request before it is cut off
    #[arg(short, long, default_value_t = 10)]
    timeout: u32,
    /// Seconds to wait before anything is done
    #[arg(short, long, default_value_t = 0)]
    wait: u32,
}

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let prefix = Settings::find_prefix(&args.prefix.sources())?;
    process::require_running(&prefix)?;
    if args.wait > 0 {
        out.step(&format!("waiting {} seconds before quitting", args.wait));
        sleep(Duration::from_secs(args.wait.into()));
    }
    process::send(process::require_running(&prefix)?, Signal::QUIT)?;
    if process::wait_until_gone(&prefix, Duration::from_secs(args.timeout.into())) {
        out.say("Kong stopped (gracefully)");
        return Ok(());
    }
    stop::stop(&prefix)?;
    out.say("Timeout, Kong stopped forcefully");
    Ok(())
}
