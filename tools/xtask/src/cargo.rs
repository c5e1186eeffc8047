//! Running cargo: the one that started us, in the project's root, with its output passed through.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a step did not pass, as a sentence for the developer.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

/// Runs `cargo <args>` and fails when it does.
pub(crate) fn run(args: &[&str]) -> Result<(), Failed> {
    let line = format!("cargo {}", args.join(" "));
    eprintln!("$ {line}");
    wait(&line, command().args(args))
}

/// Runs a command to its end and fails when it does; `what` is its name in that case.
pub(crate) fn wait(what: &str, command: &mut Command) -> Result<(), Failed> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{what} failed ({status})"))),
        Err(error) => Err(Failed(format!("cannot start {what}: {error}"))),
    }
}

/// Says whether `cargo <name>` can be run here, be it built in, a component or a plug-in.
pub(crate) fn has(name: &str) -> bool {
    command()
        .args([name, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns a command that runs cargo in the project's root.
pub(crate) fn command() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Returns the root of the project: two folders above this package.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_path_buf()
}
