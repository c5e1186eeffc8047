//! The process of a node: what `start` leaves behind, and what `run` becomes.

use std::cell::OnceCell;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;

use super::PrefixArgs;
use super::output::causes;
use super::process::PidFile;
use crate::planes::{self, Arrival, Predecessor, ReadySignal};
use crate::settings::{Settings, Sources};
use crate::telemetry::trouble::is_of_disk;

/// Be the node that a start left in the background
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Take the place of the node that runs, which may go on for so many seconds
    #[arg(long, value_name = "SECONDS")]
    upgrade: Option<u32>,
}

/// Leaves the terminal, then serves; standard input is the pipe to the starter.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    // It fails only where there is a session of our own already.
    let _ = rustix::process::setsid();
    let ready = ReadySignal::through(take_pipe().context("cannot take the starter's pipe")?);
    let within = args.upgrade.map(|seconds| Duration::from_secs(seconds.into()));
    let outcome = load(&args.prefix.sources()).and_then(|settings| match within {
        None => serve(settings, ready.clone(), true),
        Some(within) => succeed(settings, within, ready.clone()),
    });
    if let Err(error) = &outcome {
        ready.failed(&causes(error));
    }
    outcome
}

/// Runs a node in this process until it is told to end, or until another takes its place.
pub(super) fn serve(
    mut settings: Settings,
    ready: ReadySignal,
    may_be_succeeded: bool,
) -> anyhow::Result<()> {
    let _held = match PidFile::hold(&settings.prefix) {
        Err(error) if error.downcast_ref().is_some_and(is_of_disk) => {
            settings.warnings.push(format!("no command finds this node: {error:#}"));
            None
        }
        held => Some(held?),
    };
    let arrived = Box::new(|| Ok(()));
    let arrival = Arrival { predecessor: None, may_be_succeeded, arrived };
    planes::run(settings, ready, arrival)
}

/// Runs a node in the place of the one that runs in its prefix.
fn succeed(settings: Settings, within: Duration, ready: ReadySignal) -> anyhow::Result<()> {
    let predecessor = Predecessor::ask(&settings.prefix)?;
    let held = Rc::new(OnceCell::new());
    let (prefix, hold) = (settings.prefix.clone(), held.clone());
    let arrived = move || {
        // It is empty: a node arrives once.
        let _ = hold.set(PidFile::take_over(&prefix)?);
        Ok(())
    };
    let (predecessor, arrived) = (Some((predecessor, within)), Box::new(arrived));
    planes::run(settings, ready, Arrival { predecessor, may_be_succeeded: true, arrived })
}

/// A running node reads only what its start wrote; the environment serves vault references.
fn load(sources: &Sources) -> anyhow::Result<Settings> {
    let prefix = Settings::find_prefix(sources)?;
    Ok(Settings::of_node(&prefix, &sources.env)?)
}

fn take_pipe() -> std::io::Result<File> {
    let pipe = std::io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = OpenOptions::new().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(nothing)?;
    Ok(File::from(pipe))
}
