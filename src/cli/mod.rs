//! The command line: one file a subcommand, Kong's verbs first.
//!
//! Texts and behaviour follow reference hybrid.md, section 1.6, so that replacing the word `kong`
//! is enough. Exit codes: 0 done, 1 failed, 2 wrong usage.
//!
//! To add a subcommand: one file with `Args` and `run`, one variant of [`Command`], one arm in
//! [`Command::run`].

mod check;
mod config;
mod database;
mod difference;
mod drain;
mod fleet;
mod freeze;
mod health;
mod hybrid;
mod log;
mod migrations;
mod node;
mod output;
mod pin;
mod prepare;
mod process;
mod promotion;
mod quarantine;
mod quickstart;
mod quit;
mod reload;
mod restart;
mod rollback;
mod rollout;
mod run;
mod snapshot;
mod start;
mod stop;
mod token;
mod upgrade;
mod version;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::output::Output;
use crate::settings::Sources;

/// Kong's hybrid mode on an event log: control plane, data plane and operator's tool
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    /// Print what is done
    #[arg(long = "v", global = true)]
    verbose: bool,
    /// Print what is done and every setting
    #[arg(long = "vv", global = true)]
    debug: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Config(config::Args),
    Drain(drain::Args),
    Fleet(fleet::Args),
    Freeze(freeze::FreezeArgs),
    Health(health::Args),
    Hybrid(hybrid::Args),
    Log(log::Args),
    Migrations(migrations::Args),
    #[command(hide = true)]
    Node(node::Args),
    Pin(pin::Args),
    Prepare(prepare::Args),
    Quarantine(quarantine::Args),
    Quickstart(quickstart::Args),
    Quit(quit::Args),
    Reload(reload::Args),
    Restart(restart::Args),
    Rollback(rollback::Args),
    Rollout(rollout::Args),
    Run(run::Args),
    Snapshot(snapshot::Args),
    Start(start::Args),
    Stop(stop::Args),
    Token(token::Args),
    Unfreeze(freeze::UnfreezeArgs),
    Upgrade(upgrade::Args),
    Version(version::Args),
}

impl Command {
    fn run(self, out: &Output) -> anyhow::Result<()> {
        match self {
            Self::Check(args) => check::run(&args, out),
            Self::Config(args) => config::run(args, out),
            Self::Drain(args) => drain::run(&args, out),
            Self::Fleet(args) => fleet::run(args, out),
            Self::Freeze(args) => freeze::freeze(args, out),
            Self::Health(args) => health::run(&args, out),
            Self::Hybrid(args) => hybrid::run(args),
            Self::Log(args) => log::run(args, out),
            Self::Migrations(args) => migrations::run(args, out),
            Self::Node(args) => node::run(&args),
            Self::Pin(args) => pin::run(args, out),
            Self::Prepare(args) => prepare::run(args, out),
            Self::Quarantine(args) => quarantine::run(args, out),
            Self::Quickstart(args) => quickstart::run(&args, out),
            Self::Quit(args) => quit::run(&args, out),
            Self::Reload(args) => reload::run(args, out),
            Self::Restart(args) => restart::run(args, out),
            Self::Rollback(args) => rollback::run(args, out),
            Self::Rollout(args) => rollout::run(args, out),
            Self::Run(args) => run::run(args, out),
            Self::Snapshot(args) => snapshot::run(args, out),
            Self::Start(args) => start::run(args, out),
            Self::Stop(args) => stop::run(&args, out),
            Self::Token(args) => token::run(args, out),
            Self::Unfreeze(args) => freeze::unfreeze(args, out),
            Self::Upgrade(args) => upgrade::run(args, out),
            Self::Version(args) => version::run(&args, out),
        }
    }
}

/// Where the settings of a command come from.
#[derive(Clone, Debug, clap::Args)]
struct SettingsArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    conf: Option<PathBuf>,
    #[command(flatten)]
    prefix: PrefixArgs,
}

/// How a command of this product's own prints, and where its settings come from.
#[derive(Clone, Debug, clap::Args)]
struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Which node a command is about.
#[derive(Clone, Debug, clap::Args)]
struct PrefixArgs {
    /// Directory the node lives in
    #[arg(short, long, value_name = "DIRECTORY")]
    prefix: Option<String>,
}

impl SettingsArgs {
    fn sources(self) -> Sources {
        Sources::of_process(self.conf, self.prefix.prefix)
    }
}

impl PrefixArgs {
    fn sources(&self) -> Sources {
        Sources::of_process(None, self.prefix.clone())
    }
}

/// The failure of a command that has told the user already.
#[derive(Debug, thiserror::Error)]
#[error("told")]
struct Told;

/// The failure of a command that has told the user already, by a number that scripts know.
#[derive(Debug, thiserror::Error)]
#[error("told")]
struct Exit(u8);

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let out = Output::new(cli.verbose, cli.debug);
    match cli.command.run(&out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Told>() => ExitCode::FAILURE,
        Err(error) => match error.downcast_ref() {
            Some(Exit(code)) => ExitCode::from(*code),
            None => {
                out.failure(&error);
                ExitCode::FAILURE
            }
        },
    }
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let name = invoked_as(arguments);
    let command = Cli::command().name(name).bin_name(name);
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// A link named `kong` gives help under that name.
fn invoked_as(arguments: &[OsString]) -> &'static str {
    match arguments.first().and_then(|it| Path::new(it).file_name()) {
        Some(name) if name == "kong" => "kong",
        _ => "hybridctl",
    }
}

/// Prints why a command line is no command, or the help it asks for.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    match unknown_command(error, arguments) {
        Some(message) => eprintln!("{message}"),
        None => {
            // Nothing is left to tell when the terminal is gone.
            let _ = error.print();
        }
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Returns Kong's text for an unknown command or subcommand.
fn unknown_command(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let command = Cli::command();
    let group = arguments.iter().skip(1).find_map(|it| command.find_subcommand(it));
    Some(match group {
        Some(group) => format!("No such command for {}: {unknown}", group.get_name()),
        None => format!("No such command: {unknown}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn kongs_flags_are_understood_wherever_they_stand() {
        for line in [
            "kong start -c a.conf -p /tmp/x --vv",
            "kong --v start --conf a.conf --prefix /tmp/x --nginx-conf t --db-timeout 3",
            "kong quit -t 3 -w 1 -p x",
            "kong check a.conf",
            "kong version -a",
        ] {
            assert!(parse(&arguments(line)).is_ok(), "{line}");
        }
    }

    #[test]
    fn an_unknown_command_gets_kongs_text_and_usage_is_2() {
        let line = arguments("kong frobnicate");
        let error = parse(&line).unwrap_err();
        let message = unknown_command(&error, &line);
        assert_eq!(message.as_deref(), Some("No such command: frobnicate"));
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn help_shows_the_name_it_was_called_by() {
        for (line, name) in [("/usr/bin/kong --help", "kong"), ("./hybridctl --help", "hybridctl")]
        {
            let help = parse(&arguments(line)).unwrap_err().to_string();
            assert!(help.contains(&format!("Usage: {name} ")), "{help}");
        }
    }
}
