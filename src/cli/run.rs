//! `run`: the node in the foreground.

use super::output::Output;
use super::{SettingsArgs, node, start};
use crate::planes::ReadySignal;

/// Run the node in the foreground
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    node::serve(start::prepared(args.settings, out, true)?, ReadySignal::unheard(), false)
}
