//! The command line: one file a subcommand, Kong's verbs first.

mod hybrid;

use std::process::ExitCode;

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
