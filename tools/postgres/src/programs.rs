//! The server's programs: where they are, how they come onto a machine, and who may run them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where distributions put what is not for every user's path, one folder a version.
const VERSIONS: &[&str] = &["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt"];

/// The oldest version that is tested against.
const VERSION_MIN: u32 = 15;

/// Returns the folder of the server's programs.
///
/// # Errors
/// A sentence for the developer.
pub fn find() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for versions in VERSIONS {
        let Ok(entries) = std::fs::read_dir(versions) else { continue };
        folders.extend(entries.flatten().map(|entry| entry.path().join("bin")));
    }
    let known = folders.into_iter().filter_map(|folder| {
        // A link elsewhere leads to where all of the programs are.
        let initdb = folder.join("initdb").canonicalize().ok()?;
        let folder = initdb.parent()?.to_path_buf();
        Some((version(&folder)?, folder))
    });
    let newest = known.max().filter(|(version, _)| *version >= VERSION_MIN);
    newest.map(|(_, folder)| folder).ok_or_else(|| {
        format!(
            "PostgreSQL {VERSION_MIN} or newer is needed and was not found: install its server \
             (Debian: apt-get install postgresql), or run `cargo xtask test` as root, which does"
        )
    })
}

/// Finds the programs, and installs them where that can be done without asking.
///
/// # Errors
/// A sentence for the developer.
pub fn find_or_install() -> Result<PathBuf, String> {
    if let Ok(found) = find() {
        return Ok(found);
    }
    if is_root() && Path::new("/usr/bin/apt-get").exists() {
        run("apt-get", &["update"])?;
        // The tests call `openssl` as well, on which Debian's PostgreSQL depends.
        run("apt-get", &["install", "-y", "--no-install-recommends", "postgresql"])?;
        let installed = find()?;
        // The packages start a server of their own, which nobody asked for.
        if let Some(version) = version(&installed) {
            let _ = run("pg_ctlcluster", &[&version.to_string(), "main", "stop"]);
        }
    }
    find()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    let status = command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
    match status.is_ok_and(|status| status.success()) {
        true => Ok(()),
        false => Err(format!("{program} {} failed", arguments.join(" "))),
    }
}

fn version(programs: &Path) -> Option<u32> {
    let said = Command::new(programs.join("postgres")).arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let number =
        said.split_whitespace().find(|it| it.starts_with(|sign: char| sign.is_ascii_digit()))?;
    number.split(|sign: char| !sign.is_ascii_digit()).next()?.parse().ok()
}

/// Returns user and group that a server is to run under, if not ours.
pub(crate) fn owner() -> Result<Option<(u32, u32)>, String> {
    if !is_root() {
        return Ok(None);
    }
    let known =
        ["postgres", "nobody"].iter().find_map(|name| Some((id("-u", name)?, id("-g", name)?)));
    known.map(Some).ok_or_else(|| "there is no user postgres or nobody to run a server".to_owned())
}

fn is_root() -> bool {
    id("-u", "").is_some_and(|user| user == 0)
}

fn id(what: &str, name: &str) -> Option<u32> {
    let mut command = Command::new("id");
    command.arg(what).args(Some(name).filter(|name| !name.is_empty()));
    String::from_utf8(command.output().ok()?.stdout).ok()?.trim().parse().ok()
}
