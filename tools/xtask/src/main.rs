//! The developer's commands, run as `cargo xtask <command>`.
//!
//! Built from std alone, so that the first command on a fresh machine starts within seconds.

mod cargo;
mod check;
mod fuzz;
mod fuzz_api;
mod test;

use std::process::ExitCode;

use cargo::Failed;

const USAGE: &str = "\
Usage: cargo xtask <command>

Commands:
  check [--no-deny]        Run every check that a change must pass: fmt, clippy, deny, tests
  test [ARGS...]           Run all tests; ARGS go to `cargo test`
  fuzz [TARGET] [--seconds N]
                           Run one fuzz target or all, 60 seconds each; needs a C++ compiler
  fuzz-api [--calls N] [--seed N] [-- ARGS...]
                           Call the Admin API by its OpenAPI document with schemathesis (20,000
                           calls); needs Python 3; ARGS go to schemathesis
  bench <NAME> [ARGS...]   Build the release binaries and run a benchmark (`bench help` lists them)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = args.split_first() else {
        return usage();
    };
    let outcome = match command.as_str() {
        "check" => match rest {
            [] => check::run(true),
            [flag] if flag == "--no-deny" => check::run(false),
            _ => return usage(),
        },
        "test" => test::run(rest),
        "fuzz" => fuzz::run(rest),
        "fuzz-api" => fuzz_api::run(rest),
        "bench" => bench(rest),
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}

/// Builds the product alone first: built together with the tool, it would take on the features
/// that the tool asks of their shared dependencies, and that is not what ships.
fn bench(args: &[String]) -> Result<(), Failed> {
    cargo::run(&["build", "--release"])?;
    let mut command = vec!["run", "--release", "--quiet", "--package", "bench", "--"];
    command.extend(args.iter().map(String::as_str));
    cargo::run(&command)
}
