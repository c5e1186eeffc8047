//! `check`: everything that is wrong with a configuration file.

use std::path::PathBuf;

use super::Told;
use super::output::Output;
use crate::settings::{Settings, Sources};

/// Check a configuration file
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file
    #[arg(default_value = "/etc/kong/kong.conf")]
    conf: PathBuf,
}

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    match Settings::load(&Sources::of_process(Some(args.conf.clone()), None)) {
        Ok(settings) => {
            out.settings(&settings);
            out.say(&format!("configuration at {} is valid", args.conf.display()));
            Ok(())
        }
        Err(error) => {
            error.messages().iter().for_each(|it| out.error(it));
            Err(Told.into())
        }
    }
}
