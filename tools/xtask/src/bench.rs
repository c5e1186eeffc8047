//! Benchmarks, of the binary as it ships where they run one.

use crate::cargo::{self, Failed};
use crate::release;

/// The benchmarks that start the product; others call it as a library, or need none of it.
const OF_THE_BINARY: &[&str] =
    &["proxy", "idle", "swaps", "propagation", "admin", "fleet", "abuse"];

/// Builds what a benchmark runs, and runs it.
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let (is_plain, args) = match args.split_first() {
        Some((first, rest)) if first == "--plain" => (true, rest),
        _ => (false, args),
    };
    let mut command = vec!["run", "--release", "--quiet", "--package", "bench", "--"];
    command.extend(args.iter().map(String::as_str));
    let is_given = |arg: &String| arg.starts_with("--hybridctl") || arg.starts_with("--candidate");
    let runs_it = args.first().is_some_and(|name| OF_THE_BINARY.contains(&name.as_str()));
    if !runs_it || args.iter().any(|arg| is_given(arg) || arg == "--help" || arg == "-h") {
        return cargo::run(&command);
    }
    if is_plain {
        // Alone: built together with the tool, it would take on the features that the tool asks of their
        // shared dependencies, and that is not what ships.
        cargo::run(&["build", "--release"])?;
        return cargo::run(&command);
    }
    let binary = release::run()?.display().to_string();
    command.extend(["--hybridctl", &binary]);
    cargo::run(&command)
}
