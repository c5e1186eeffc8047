//! The developer's commands, run as `cargo xtask <command>`.
//!
//! Built from std alone, so that the first command on a fresh machine starts within seconds.

mod bench;
mod cargo;
mod check;
mod fuzz;
mod fuzz_api;
mod release;
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
  release                  Build the binary as it ships, optimised by a profile of traffic, into
                           target/shipped; needs llvm-profdata, which is fetched if it can be
  bench [--plain] <NAME> [ARGS...]
                           Run a benchmark (`bench help` lists them) of the binary as it ships, or
                           with --plain of what `cargo build --release` makes, which is done sooner
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
        "release" => match rest {
            [] => release::run().map(|binary| eprintln!("{}", binary.display())),
            _ => return usage(),
        },
        "bench" => bench::run(rest),
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
