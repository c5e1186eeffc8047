//! All tests of the workspace.
//!
//! What tests need beyond the toolchain is found or installed here; they start it themselves, once
//! a run, and it ends with them.

use crate::cargo::{self, Failed};

/// Runs the tests; `args` go to `cargo test` (a filter, `-- --nocapture`).
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let programs = throwaway_postgres::find_or_install().map_err(Failed)?;
    eprintln!("PostgreSQL: {}", programs.display());
    let mut command = vec!["test", "--locked", "--workspace"];
    command.extend(args.iter().map(String::as_str));
    cargo::run(&command)
}
