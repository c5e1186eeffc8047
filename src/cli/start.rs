//! `start`: brings a node up and returns when it serves.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::output::Output;
use super::{SettingsArgs, migrations, node, process};
use crate::planes::ReadySignal;
use crate::settings::Settings;
use crate::telemetry::trouble::is_of_disk;

/// Start the node
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// Make or update the tables of the database first
    #[arg(long)]
    run_migrations: bool,
    #[command(flatten)]
    ignored: Ignored,
}

/// Flags of Kong that its scripts pass; there is nothing here for them to steer.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Ignored {
    #[arg(long, hide = true, value_name = "FILE")]
    nginx_conf: Option<String>,
    #[arg(long, hide = true, value_name = "FLAGS")]
    nginx_conf_flags: Option<String>,
    #[arg(long, hide = true, value_name = "SECONDS")]
    db_timeout: Option<String>,
    #[arg(long, hide = true, value_name = "SECONDS")]
    lock_timeout: Option<String>,
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    if args.ignored.nginx_conf.is_some() {
        out.step("--nginx-conf is ignored: there is no nginx here");
    }
    let settings = prepared(args.settings, out, false)?;
    if args.run_migrations {
        migrations::prepare(&settings, out)?;
    }
    if !settings.daemon {
        return node::serve(settings, ReadySignal::unheard(), false);
    }
    spawn(&settings, &[])?;
    out.say("Kong started");
    Ok(())
}

/// Loads the settings of a node that does not run yet, and makes its prefix ready. A node in the
/// foreground has its settings at hand and needs no prefix that can be written.
pub(super) fn prepared(
    args: SettingsArgs,
    out: &Output,
    in_foreground: bool,
) -> anyhow::Result<Settings> {
    let sources = args.sources();
    let prefix = Settings::find_prefix(&sources)?;
    if process::running(&prefix).is_some() {
        bail!("Kong is already running in {}", prefix.path().display());
    }
    let mut settings = Settings::load(&sources)?;
    settings.warnings.extend(another_role(&settings));
    out.settings(&settings);
    out.step(&format!("preparing the prefix at {}", settings.prefix.path().display()));
    match settings.prepare() {
        Err(error) if is_of_disk(&error) && (in_foreground || !settings.daemon) => {
            let prefix = settings.prefix.path().display();
            let warning = format!("the prefix {prefix} is not made ready: {error}");
            settings.warnings.push(warning);
        }
        prepared => prepared?,
    }
    Ok(settings)
}

/// Warns of a node that becomes another one: a command without the variables or the file that the
/// last start had makes a `traditional` node of a data plane, and nothing else would say so.
fn another_role(settings: &Settings) -> Option<String> {
    let before = Settings::of_node(&settings.prefix, &BTreeMap::new()).ok()?.role;
    let (before, now) = (before.as_str(), settings.role.as_str());
    let prefix = settings.prefix.path().display();
    (before != now).then(|| {
        format!(
            "the node in {prefix} was a {before} and becomes a {now}: its settings come from the \
             file and the environment of this command, not from its last start"
        )
    })
}

/// Starts the node in a session of its own and waits for its first word.
pub(super) fn spawn(settings: &Settings, more: &[&str]) -> anyhow::Result<()> {
    let log_path = settings.prefix.error_log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("cannot open {}", log_path.display()))?;
    let (mut first_word, pipe) = std::io::pipe()?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command
        .arg("node")
        .arg("--prefix")
        .arg(settings.prefix.path())
        .args(more)
        .stdin(Stdio::from(pipe))
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut child = command.spawn().context("cannot start the node's process")?;
    // The command holds our end of the pipe: while it lives, the pipe never ends.
    drop(command);
    let mut words = String::new();
    first_word.read_to_string(&mut words)?;
    if words == "ready" {
        return Ok(());
    }
    child.wait()?;
    match words.strip_prefix("error ") {
        Some(reason) => bail!("{reason}"),
        None => bail!("the node ended before it was ready, see {}", log_path.display()),
    }
}
