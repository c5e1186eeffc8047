//! The fuzz targets of `fuzz/`, run for a while each; CI's tests only replay their corpora.
//!
//! A stable toolchain and a C++ compiler are enough: the flags that make the compiler tell the
//! engine where an input leads are stable, and there is no unsafe code that a sanitizer would watch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{self, Failed};

/// How long each target runs unless told otherwise, in seconds.
const SECONDS: u64 = 60;

/// What makes the compiler tell the engine which branches an input takes, and what is compared.
const RUSTFLAGS: &str = "-Cpasses=sancov-module \
                         -Cllvm-args=-sanitizer-coverage-level=4 \
                         -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                         -Cllvm-args=-sanitizer-coverage-pc-table \
                         -Cllvm-args=-sanitizer-coverage-trace-compares";

/// An input may have so many bytes, take ten seconds, and a gigabyte of memory.
const LIMITS: &[&str] = &["-max_len=16384", "-timeout=10", "-rss_limit_mb=1024"];

/// Runs one target or all of them; what they find is left in `fuzz/artifacts/`.
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let folder = cargo::root().join("fuzz");
    let (only, seconds) = read(args)?;
    let mut targets = targets(&folder)?;
    if let Some(only) = only {
        targets.retain(|name| *name == only);
        if targets.is_empty() {
            return Err(Failed(format!("there is no fuzz target {only}")));
        }
    }
    let triple = triple()?;
    // What is fuzzed is built of the same versions as the product.
    fs::copy(cargo::root().join("Cargo.lock"), folder.join("Cargo.lock"))
        .map_err(|error| Failed(format!("cannot copy Cargo.lock: {error}")))?;
    let mut build = cargo::command();
    build.current_dir(&folder).env("RUSTFLAGS", RUSTFLAGS);
    // The target is named so that build scripts and macros are built without these flags.
    build.args(["build", "--release", "--target", &triple]);
    succeed("cargo build", &mut build)?;
    let built = folder.join("target").join(triple).join("release");
    for name in &targets {
        eprintln!("fuzz: {name} for {seconds} seconds");
        let found = folder.join("target/corpus").join(name);
        let artifacts = folder.join("artifacts").join(name);
        for new in [&found, &artifacts] {
            fs::create_dir_all(new).map_err(|error| Failed(format!("{new:?}: {error}")))?;
        }
        let mut target = Command::new(built.join(name));
        target.arg(&found).arg(folder.join("corpus").join(name)).args(LIMITS);
        target.arg(format!("-max_total_time={seconds}"));
        target.arg(format!("-artifact_prefix={}/", artifacts.display()));
        succeed(&format!("fuzz target {name}"), &mut target)?;
    }
    eprintln!("fuzz: {} targets found nothing", targets.len());
    Ok(())
}

fn read(args: &[String]) -> Result<(Option<String>, u64), Failed> {
    let (mut only, mut seconds) = (None, SECONDS);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let number = args.next().and_then(|number| number.parse().ok());
            seconds = number.ok_or_else(|| Failed("--seconds needs a number".into()))?;
        } else if only.is_none() && !arg.starts_with('-') {
            only = Some(arg.clone());
        } else {
            return Err(Failed(format!("unknown argument {arg}")));
        }
    }
    Ok((only, seconds))
}

/// Returns the names of all targets.
fn targets(folder: &Path) -> Result<Vec<String>, Failed> {
    let folder = folder.join("fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| Failed(format!("{folder:?}: {error}")))?;
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| name(entry.path())).collect();
    names.sort();
    Ok(names)
}

/// Returns what the compiler calls this machine.
fn triple() -> Result<String, Failed> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output();
    let output = output.map_err(|error| Failed(format!("cannot start rustc: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failed("rustc does not tell its host".into()))
}

fn succeed(what: &str, command: &mut Command) -> Result<(), Failed> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{what} failed ({status})"))),
        Err(error) => Err(Failed(format!("cannot start {what}: {error}"))),
    }
}
