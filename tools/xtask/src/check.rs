//! Every check that a change must pass, cheapest first; CI runs exactly this.

use crate::cargo::{self, Failed};
use crate::test;

const CLIPPY: &[&str] =
    &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];

/// What cargo-deny says about the tree alone: its verdict changes with a commit, never with the
/// day. Advisories change with the day, so they are a scheduled job's, not a change's.
const DENY: &[&str] = &["deny", "--workspace", "check", "bans", "licenses", "sources"];

const NO_DENY: &str = "\
xtask: cargo-deny is not installed: licences, sources and banned crates were not checked.
       Install it with `cargo install --locked cargo-deny`, or pass --no-deny to be silent.";

/// Runs all checks and stops at the first that fails. A machine without cargo-deny passes with
/// a note, so that a fresh one needs the Rust toolchain and a C compiler only.
pub(crate) fn run(with_deny: bool) -> Result<(), Failed> {
    for (component, rustup_name) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !cargo::has(component) {
            return Err(Failed(format!(
                "cargo {component} is missing; install it with `rustup component add {rustup_name}`"
            )));
        }
    }
    cargo::run(&["fmt", "--all", "--check"])?;
    cargo::run(CLIPPY)?;
    let deny_missing = with_deny && !cargo::has("deny");
    if with_deny && !deny_missing {
        cargo::run(DENY)?;
    }
    test::run(&[])?;
    if deny_missing {
        eprintln!("{NO_DENY}");
    }
    Ok(())
}
