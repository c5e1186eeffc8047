//! `fleet`: who runs what, by the Admin API of a control plane, and waiting until they do.

mod line;
mod seen;
mod wait;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use self::seen::Seen;
use super::output::Output;
use super::{JsonArgs, database};
use crate::admin::client::AdminClient;
use crate::clock::Clock;
use crate::planes;
use crate::promotion::order;

/// The variable that holds the token for the Admin API: a command line can be seen by everyone.
const TOKEN_VARIABLE: &str = "HYBRIDCTL_ADMIN_TOKEN";

/// The pause between two looks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Tell which data plane runs what, or wait until they all run a configuration
///
/// The control plane is asked by its Admin API, that of the node in the prefix unless --admin-url
/// says otherwise. An admin token is read from HYBRIDCTL_ADMIN_TOKEN or --token-file.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Tell again whenever something changes
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    asking: AskArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Wait(wait::Args),
}

/// Whom to ask, and about which data planes.
#[derive(Debug, clap::Args)]
struct AskArgs {
    /// The Admin API, such as http://control-plane:8001 [default: of the node in the prefix]
    #[arg(long, value_name = "URL")]
    admin_url: Option<String>,
    /// A file with an admin token [default: the variable HYBRIDCTL_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Only data planes that have every one of these labels
    #[arg(long, value_name = "NAME=VALUE,…", value_parser = order::parse_labels)]
    labels: Option<BTreeMap<String, String>>,
    #[command(flatten)]
    common: JsonArgs,
}

impl AskArgs {
    fn client(&self) -> anyhow::Result<AdminClient> {
        let token = match &self.token_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?,
            ),
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        let token = token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        let settings = database::node_settings(self.common.settings.clone())?;
        planes::remote::open(&settings, self.admin_url.as_deref(), token, &Clock::System)
    }
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Some(Verb::Wait(args)) => wait::run(args, out).await,
            None => show(args, out).await,
        }
    })
}

async fn show(args: Args, out: &Output) -> anyhow::Result<()> {
    let client = args.asking.client()?;
    let labels = args.asking.labels.unwrap_or_default();
    let clears = args.watch && !args.asking.common.json && std::io::stdout().is_terminal();
    let mut last = None;
    loop {
        let text = match Seen::ask(&client, &labels).await {
            Ok(seen) if args.asking.common.json => seen.to_json().to_string(),
            Ok(seen) => line::table(&seen, Clock::System.now()),
            Err(error) if args.watch && error.may_pass() => {
                out.warn(&format!("{:#}", anyhow::Error::new(error)));
                String::new()
            }
            Err(error) => return Err(error).context("cannot ask the control plane"),
        };
        if !text.is_empty() && last.as_ref() != Some(&text) {
            // Home, and what stood there before goes.
            let before = if clears { "\x1b[H\x1b[2J" } else { "" };
            super::log::print(&format!("{before}{text}"))?;
            last = Some(text);
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}
