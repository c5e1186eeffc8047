//! The binary as it ships: compiled so that it counts which ways it goes, sent through the traffic of
//! `tools/training`, and compiled again by what was counted (profile-guided optimisation).
//!
//! That takes a fifth off what the proxy itself does for a request, and two compilations with link-time
//! optimisation instead of one: on two cores some 20 minutes. What was counted is kept until the code changes.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::cargo::{self, Failed};

/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`, where they may hold spaces.
const BETWEEN_FLAGS: char = '\x1f';

/// Builds the binary and returns where it is.
pub(crate) fn run() -> Result<PathBuf, Failed> {
    let compiler = Compiler::ask()?;
    let merge = compiler.find_profdata()?;
    let folder = cargo::root().join("target/shipped");
    let (raw, binary) = (folder.join("raw"), folder.join("hybridctl"));
    fs::create_dir_all(&folder).map_err(|error| failed("cannot make a folder", &error))?;

    // The folder is told by the environment; without that, a run would leave its counts where it ran.
    let counting = compiler.build(&folder.join("counting"), "-Cprofile-generate")?;
    let profile = match kept_profile(&folder, &counting) {
        Some(profile) => profile,
        None => {
            remove(&raw)?;
            train(&counting, &raw)?;
            merged(&merge, &raw, &folder)?
        }
    };
    let flag = format!("-Cprofile-use={}", profile.display());
    let built = compiler.build(&folder.join("build"), &flag)?;
    // Renamed into its place: the one before may be running.
    let beside = folder.join("hybridctl.new");
    fs::copy(&built, &beside).map_err(|error| failed("cannot copy the binary", &error))?;
    fs::rename(&beside, &binary).map_err(|error| failed("cannot place the binary", &error))?;
    Ok(binary)
}

/// The compiler, as it describes itself.
struct Compiler {
    host: String,
    llvm: String,
    sysroot: PathBuf,
}

impl Compiler {
    fn ask() -> Result<Self, Failed> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let said = |argument: &[&str]| {
            let output = Command::new(&rustc).current_dir(cargo::root()).args(argument).output();
            let output = output.map_err(|error| failed("cannot start rustc", &error))?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let version = said(&["-vV"])?;
        let sysroot = said(&["--print", "sysroot"])?.trim().into();
        let (host, llvm) = read_version(&version)
            .ok_or_else(|| Failed(format!("rustc does not name its host and LLVM: {version}")))?;
        Ok(Self { host: host.into(), llvm: llvm.into(), sysroot })
    }

    /// Finds the program that puts counts together; it must be of the compiler's LLVM, whose form of counts
    /// changes.
    fn find_profdata(&self) -> Result<PathBuf, Failed> {
        let Self { host, llvm, sysroot } = self;
        let places = || {
            let of_toolchain = sysroot.join(format!("lib/rustlib/{host}/bin/llvm-profdata"));
            let of_debian = format!("/usr/lib/llvm-{llvm}/bin/llvm-profdata").into();
            let path = env::var_os("PATH").unwrap_or_default();
            let named: Vec<PathBuf> = env::split_paths(&path)
                .map(|folder| folder.join(format!("llvm-profdata-{llvm}")))
                .collect();
            [of_toolchain, of_debian].into_iter().chain(named)
        };
        let find = || places().find(|place| place.is_file());
        if let Some(found) = find() {
            return Ok(found);
        }
        let attempts: [&[&str]; 2] = [
            &["rustup", "component", "add", "llvm-tools"],
            &["apt-get", "install", "-y", "--no-install-recommends", &format!("llvm-{llvm}")],
        ];
        for attempt in attempts {
            eprintln!("$ {}", attempt.join(" "));
            let mut command = Command::new(attempt[0]);
            command.args(&attempt[1..]).env("DEBIAN_FRONTEND", "noninteractive");
            // What it could not do is said below, in one sentence.
            let _ = command.current_dir(cargo::root()).status();
            if let Some(found) = find() {
                return Ok(found);
            }
        }
        Err(Failed(format!(
            "llvm-profdata of LLVM {llvm} is needed and was not found: `rustup component add \
             llvm-tools`, or on Debian `apt-get install llvm-{llvm}`; \
             `cargo build --release` builds a slower binary without it"
        )))
    }

    /// Compiles the product into a folder, with one more flag, and returns where the binary is. Only what is compiled for the
    /// host by name gets the flag: build scripts are not worth counting.
    fn build(&self, folder: &Path, flag: &str) -> Result<PathBuf, Failed> {
        let host = &self.host;
        eprintln!("$ RUSTFLAGS={flag} cargo build --release --target {host}");
        let mut command = cargo::command();
        command.args(["build", "--release", "--locked", "--bin", "hybridctl", "--target", host]);
        command.env("CARGO_TARGET_DIR", folder);
        command.env("CARGO_ENCODED_RUSTFLAGS", with_flag(flag)).env_remove("RUSTFLAGS");
        cargo::wait("cargo build", &mut command)?;
        Ok(folder.join(host).join("release/hybridctl"))
    }
}

/// Reads `host` and the major version of LLVM from what `rustc -vV` says.
fn read_version(said: &str) -> Option<(&str, &str)> {
    let line = |start| said.lines().find_map(|line| line.strip_prefix(start));
    let llvm = line("LLVM version: ")?.split('.').next()?;
    Some((line("host: ")?, llvm))
}

/// Returns the developer's own flags, if any, and one more.
fn with_flag(flag: &str) -> OsString {
    let encoded = env::var("CARGO_ENCODED_RUSTFLAGS").ok();
    let plain = || env::var("RUSTFLAGS").ok().map(|flags| encode(&flags));
    let mut flags = encoded.or_else(plain).unwrap_or_default();
    if !flags.is_empty() {
        flags.push(BETWEEN_FLAGS);
    }
    flags.push_str(flag);
    flags.into()
}

fn encode(flags: &str) -> String {
    flags.split_whitespace().collect::<Vec<_>>().join(&BETWEEN_FLAGS.to_string())
}

/// Returns what was counted, if neither the program that counts nor its traffic has changed since.
fn kept_profile(folder: &Path, counting: &Path) -> Option<PathBuf> {
    let changed = |path: &Path| path.metadata().ok()?.modified().ok();
    let traffic = files(&cargo::root().join("tools/training/src"));
    let newest: SystemTime =
        traffic.filter_map(|path| changed(&path)).max()?.max(changed(counting)?);
    profiles(folder).find(|path| changed(path).is_some_and(|counted| counted > newest))
}

fn profiles(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    files(folder).filter(|path| path.extension().is_some_and(|it| it == "profdata"))
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// Sends the program that counts through its traffic.
fn train(counting: &Path, raw: &Path) -> Result<(), Failed> {
    let mut command = cargo::command();
    command.args(["run", "--quiet", "--locked", "--package", "training", "--"]).arg(counting);
    // One file for each program, into which each process adds what it counted.
    command.env("LLVM_PROFILE_FILE", raw.join("%m.profraw"));
    cargo::wait("the training", &mut command)
}

/// Puts together what was counted. The file is named by its content, since cargo compiles again when
/// flags change and not when a file does.
fn merged(merge: &Path, raw: &Path, folder: &Path) -> Result<PathBuf, Failed> {
    let merged = folder.join("profile.new");
    let mut command = Command::new(merge);
    command.arg("merge").arg("-o").arg(&merged).arg(raw);
    cargo::wait("llvm-profdata", &mut command)?;
    let bytes = fs::read(&merged).map_err(|error| failed("cannot read the profile", &error))?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let named = folder.join(format!("{:016x}.profdata", hasher.finish()));
    for old in profiles(folder) {
        remove(&old)?;
    }
    fs::rename(&merged, &named).map_err(|error| failed("cannot place the profile", &error))?;
    Ok(named)
}

/// Removes a file or folder, if it is there.
fn remove(path: &Path) -> Result<(), Failed> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false if path.exists() => fs::remove_file(path),
        false => Ok(()),
    };
    removed.map_err(|error| failed(&format!("cannot remove {}", path.display()), &error))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failed {
    Failed(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_names_its_host_and_llvm() {
        let said = "rustc 1.95.0 (abc 2026-04-14)\nhost: x86_64-unknown-linux-gnu\n\
                    release: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(read_version(said), Some(("x86_64-unknown-linux-gnu", "22")));
        assert_eq!(read_version("rustc 1.95.0\n"), None);
    }

    #[test]
    fn flags_are_encoded_one_by_one() {
        assert_eq!(encode(" -Ctarget-cpu=native  -g "), "-Ctarget-cpu=native\x1f-g");
        assert_eq!(encode(""), "");
    }
}
