//! `hybridctl hybrid`: tools for a cluster of control and data planes.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::pki::file::{Access, write_new};
use crate::pki::generate::{CLUSTER_DAYS, cluster_pair};

/// Tools for a cluster of control and data planes
#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate a certificate and key pair for the cluster link
    #[command(name = "gen_cert", alias = "gen-cert")]
    GenCert(GenCertArgs),
    #[command(external_subcommand)]
    Unknown(Vec<String>),
}

#[derive(Debug, clap::Args)]
struct GenCertArgs {
    /// Certificate and key file to write [default: ./cluster.crt ./cluster.key]
    #[arg(value_names = ["CERT", "KEY"], num_args = 0..)]
    files: Vec<PathBuf>,

    /// Days that the certificate is valid for
    #[arg(short, long, default_value_t = CLUSTER_DAYS, allow_negative_numbers = true)]
    days: i64,
}

/// Runs one of the tools (reference hybrid.md, section 2).
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::GenCert(args) => {
            println!("{}", gen_cert(&args, &Clock::System)?);
            Ok(())
        }
        Command::Unknown(words) => {
            bail!("No such command for hybrid: {}", words.first().map_or("", String::as_str))
        }
    }
}

fn gen_cert(args: &GenCertArgs, clock: &Clock) -> anyhow::Result<String> {
    let (certificate, key) = match args.files.as_slice() {
        [] => (Path::new("./cluster.crt"), Path::new("./cluster.key")),
        [certificate, key] => (certificate.as_path(), key.as_path()),
        _ => bail!("both cert and key path needs to be provided"),
    };
    let certificate = absolute(certificate)?;
    let key = absolute(key)?;
    if certificate == key {
        bail!("cert and key path must differ, both are {}", key.display());
    }
    for path in [&certificate, &key] {
        // A dangling link is something too: writing would go through it.
        if path.symlink_metadata().is_ok() {
            bail!(exists(path));
        }
    }
    let pair = cluster_pair(args.days, clock)?;
    create(&key, &pair.key, Access::Private)?;
    create(&certificate, &pair.certificate, Access::Public).inspect_err(|_| {
        // Half a pair would only stand in the way of the next attempt.
        let _ = std::fs::remove_file(&key);
    })?;
    Ok(format!(
        "Successfully generated certificate/key pairs, they have been written to: '{}' and '{}'.",
        certificate.display(),
        key.display()
    ))
}

fn create(path: &Path, contents: &str, access: Access) -> anyhow::Result<()> {
    write_new(path, contents, access).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!(exists(path)),
        _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
    })
}

fn exists(path: &Path) -> String {
    format!("{} already exists.\nWill not overwrite it.", path.display())
}

/// Returns `path` absolute, without `.` and `..`, as Kong prints it.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    use std::path::Component;
    let whole = std::path::absolute(path)
        .with_context(|| format!("cannot resolve the path '{}'", path.display()))?;
    let mut clean = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::pki::cluster::ClusterIdentity;

    fn scratch() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hybridctl-{}", Clock::System.id()));
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    fn parse(words: &[&str]) -> GenCertArgs {
        let words = ["hybrid", "gen_cert"].iter().chain(words);
        match Args::try_parse_from(words).unwrap().command {
            Command::GenCert(args) => args,
            Command::Unknown(words) => panic!("unknown command {words:?}"),
        }
    }

    fn in_scratch(dir: &Path, days: &str) -> GenCertArgs {
        let [cert, key] = ["a.crt", "a.key"].map(|name| dir.join(name));
        parse(&[cert.to_str().unwrap(), key.to_str().unwrap(), "-d", days])
    }

    #[test]
    fn gen_cert_writes_a_pair_with_the_right_modes_and_says_where() {
        let dir = scratch();
        let said = gen_cert(&in_scratch(&dir, "30"), &Clock::System).unwrap();

        let (cert, key) = (dir.join("a.crt"), dir.join("a.key"));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&cert), mode(&key)), (0o644, 0o600));
        assert!(said.ends_with(&format!("to: '{}' and '{}'.", cert.display(), key.display())));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert!(read(&key).starts_with("-----BEGIN PRIVATE KEY-----"));
        let identity = ClusterIdentity::shared(&read(&cert), &read(&key)).unwrap();
        assert_eq!((identity.not_after() - Clock::System.now()).num_days(), 29);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn gen_cert_overwrites_neither_file_and_leaves_no_half_pair() {
        for name in ["a.crt", "a.key"] {
            let dir = scratch();
            std::fs::write(dir.join(name), "mine").unwrap();

            let error = gen_cert(&in_scratch(&dir, "1"), &Clock::System).unwrap_err();

            let path = dir.join(name);
            let expected = format!("{} already exists.\nWill not overwrite it.", path.display());
            assert_eq!(error.to_string(), expected);
            assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
            std::fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn gen_cert_refuses_one_path_three_paths_and_the_same_path_twice() {
        let error = |words: &[&str]| gen_cert(&parse(words), &Clock::System).unwrap_err();
        let arity = "both cert and key path needs to be provided";
        assert_eq!(error(&["/nowhere/a"]).to_string(), arity);
        assert_eq!(error(&["/nowhere/a", "b", "c"]).to_string(), arity);
        let same = error(&["/nowhere/a", "/nowhere/x/.././a"]).to_string();
        assert_eq!(same, "cert and key path must differ, both are /nowhere/a");
    }

    #[test]
    fn gen_cert_refuses_days_that_lead_nowhere() {
        let dir = scratch();
        for days in ["0", "-1", "99999999", "9223372036854775807"] {
            let error = gen_cert(&in_scratch(&dir, days), &Clock::System).unwrap_err();
            assert!(error.to_string().starts_with("days: expected"), "{error}");
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir_all(dir).unwrap();
        assert_eq!(parse(&[]).days, 1095);
        assert_eq!(parse(&["--days", "7"]).days, 7);
    }

    #[test]
    fn an_unknown_tool_is_named() {
        let args = Args::try_parse_from(["hybrid", "frob", "x"]).unwrap();
        assert_eq!(run(args).unwrap_err().to_string(), "No such command for hybrid: frob");
    }
}
