//! All tests of the workspace.
//!
//! What tests need beyond the toolchain (a database server) is started here, handed to them in
//! environment variables, and stopped at the end: the tests themselves only connect.

use crate::cargo::{self, Failed};

/// Runs the tests; `args` go to `cargo test` (a filter, `-- --nocapture`).
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let mut command = vec!["test", "--locked", "--workspace"];
    command.extend(args.iter().map(String::as_str));
    cargo::run(&command)
}
