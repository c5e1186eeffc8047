//! `snapshot export`, `import` and `verify`: snapshots in files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::{at_or_newest, history};
use crate::cli::JsonArgs;
use crate::cli::database::{self, Target};
use crate::cli::output::Output;
use crate::cli::{difference, rollback};
use crate::clock::Clock;
use crate::domain::config::Config;
use crate::domain::decide::{self, Fresh};
use crate::domain::declarative;
use crate::domain::event::EventKind;
use crate::domain::shrink::Shrink;
use crate::log::moment::Moment;
use crate::pki::ed25519::VerifyKey;
use crate::pki::file::{Access, replace};
use crate::planes::identity;
use crate::snapshot::file::{self, Loaded};
use crate::snapshot::head::SignedHead;
use crate::writer::history::History;
use crate::writer::{Head, WriteError};

/// What every gzip file begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// First characters of a hash (8 at least), a position, or a time [default: the newest]
    #[arg(long, value_name = "HASH|SEQ|TIME")]
    hash: Option<Moment>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::File)]
    format: Format,
    /// File to write, or the folder of a pack [default: config.json.gz, kong.yml, or pack]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The same as --output
    #[arg(value_name = "PATH", conflicts_with = "output")]
    path: Option<PathBuf>,
    #[command(flatten)]
    common: JsonArgs,
}

/// The forms of a snapshot outside the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// `config.json.gz`, which starts a data plane
    File,
    /// Kong's declarative configuration
    Yaml,
    /// A folder of nodes and a signed head, as a mirror serves them
    Pack,
}

impl Format {
    fn default_path(self) -> &'static str {
        match self {
            Self::File => file::FILE_NAME,
            Self::Yaml => "kong.yml",
            Self::Pack => "pack",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// config.json.gz, or declarative configuration, YAML or JSON
    file: PathBuf,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Import even if more than half of the routes or services go
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: JsonArgs,
}

pub(super) async fn export(args: Export, out: &Output) -> anyhow::Result<()> {
    let (target, history) = history(&args.common).await?;
    let head = at_or_newest(&history, args.hash).await?;
    let path = args.output.or(args.path);
    let path = path.unwrap_or_else(|| args.format.default_path().into());
    let catalog = &target.catalog;
    let bytes = match args.format {
        Format::File => {
            let origin = Some(sign(&history, &head).await?);
            file::encode(catalog, &head.snapshot, origin)
        }
        Format::Yaml => {
            let tree = declarative::export(catalog, head.snapshot.config());
            declarative::yaml::write(&tree).into_bytes()
        }
        Format::Pack => {
            let signed = sign(&history, &head).await?;
            let count = super::mirror::write(&path, &head, signed).await?;
            return told(&args.common, &head, &path, Some(count), out);
        }
    };
    // It may hold secrets, as the log does.
    replace(&path, &bytes, Access::Private)
        .with_context(|| format!("cannot write {}", path.display()))?;
    told(&args.common, &head, &path, None, out)
}

/// Says what was written; of a pack also how many of its nodes were not there yet.
fn told(
    common: &JsonArgs,
    head: &Head,
    path: &Path,
    nodes: Option<usize>,
    out: &Output,
) -> anyhow::Result<()> {
    let (config_hash, seq) = (head.config_hash, head.seq);
    if common.json {
        let mut shown = json!({"config_hash": config_hash, "seq": seq, "file": path});
        if let Some(nodes) = nodes {
            shown["nodes_written"] = nodes.into();
        }
        println!("{shown}");
    } else {
        let nodes = nodes.map(|nodes| format!(" ({nodes} new nodes)")).unwrap_or_default();
        out.say(&format!("Exported config {config_hash} at {seq} to {}{nodes}.", path.display()));
    }
    Ok(())
}

/// Signs a head as the cluster does; returns it with the cluster's public key.
pub(super) async fn sign(history: &History, head: &Head) -> anyhow::Result<(SignedHead, String)> {
    let signer = identity::signer(&**history.log(), &Clock::System).await?;
    let signed = signer.sign(head.seq, head.config_hash)?;
    Ok((signed, signer.key.verify_key().to_string()))
}

pub(super) async fn import(args: Import, out: &Output) -> anyhow::Result<()> {
    let target = Target::find(args.common.settings.clone())?;
    let bytes = read(&args.file)?;
    let (writer, task) = target.writer().await?;
    let before = writer.head();
    let now = before.snapshot.config();
    let config = parse(&target, &args.file, &bytes, now)?;
    let changes = now.diff(&target.catalog, &config);
    if args.dry_run {
        difference::print(&target.catalog, now, &changes, args.common.json);
        if !args.common.json {
            out.say(&format!("{} changes would be made.", changes.len()));
        }
        return match Shrink::of(now, &changes).filter(|_| !args.force) {
            Some(shrink) => Err(rollback::refused(&shrink)),
            None => Ok(()),
        };
    }
    let origin = database::origin(EventKind::Imported, args.reason);
    let work = async {
        let written = writer.force(args.force).import(origin, config).await;
        drop(writer);
        written
    };
    let (written, ()) = tokio::join!(work, task.run(std::future::pending()));
    let head = match written {
        Err(WriteError::Shrinks(shrink)) => return Err(rollback::refused(&shrink)),
        written => written.context("cannot import")?,
    };
    let changed = head.seq != before.seq;
    if args.common.json {
        let hash = head.config_hash;
        println!("{}", json!({"seq": head.seq, "config_hash": hash, "changed": changed}));
    } else if changed {
        let count = changes.len();
        out.say(&format!("Imported config {} at {}: {count} changes.", head.config_hash, head.seq));
    } else {
        let hash = head.config_hash.short();
        out.say(&format!("Config {hash} is in force already; nothing was written."));
    }
    Ok(())
}

/// Reads either form of a configuration. Entities that differ from those of `now` in their times
/// alone stay as they are.
fn parse(target: &Target, path: &Path, bytes: &[u8], now: &Config) -> anyhow::Result<Config> {
    let catalog = &target.catalog;
    if bytes.starts_with(GZIP) {
        return Ok(decode(target, path, bytes)?.snapshot.config().clone());
    }
    let text =
        std::str::from_utf8(bytes).with_context(|| format!("{} is no text", path.display()))?;
    let tree = file::parse_text(&path.display().to_string(), text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let clock = Clock::System;
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    let entities = declarative::parse(catalog, &tree, &mut fresh)
        .map_err(|rejection| anyhow::anyhow!("Failed parsing:\n{}", rejection.message()))?;
    let entities = declarative::keep_times(catalog, now, entities);
    decide::assemble(catalog, entities).map_err(|wrong| {
        let lines =
            wrong.iter().map(|(key, rejection)| format!("\n{key}: {}", rejection.message()));
        anyhow::anyhow!("{} is not valid:{}", path.display(), lines.collect::<String>())
    })
}

fn decode(target: &Target, path: &Path, bytes: &[u8]) -> anyhow::Result<Loaded> {
    let clock = Clock::System;
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    let loaded = file::decode(&target.catalog, bytes, &mut fresh)
        .with_context(|| format!("{} is no snapshot", path.display()))?;
    if let Some((head, key)) = &loaded.origin {
        check(head, key)?;
    }
    Ok(loaded)
}

/// Checks a head's signature.
pub(super) fn check(head: &SignedHead, key: &str) -> anyhow::Result<()> {
    let key = VerifyKey::parse(key).context("the key is damaged")?;
    let signed = key.verify(&head.signed_message(), &head.signature.0);
    ensure!(signed.is_ok(), "the signature does not verify");
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

pub(super) fn verify(path: &Path, common: JsonArgs) -> anyhow::Result<()> {
    let target = Target::find(common.settings)?;
    let (snapshot, signed) = if path.is_dir() {
        (super::mirror::read(&target.catalog, path)?, true)
    } else {
        let bytes = read(path)?;
        if !bytes.starts_with(GZIP) {
            bail!("{} is no snapshot: it is not gzip", path.display());
        }
        let loaded = decode(&target, path, &bytes)?;
        (Arc::new(loaded.snapshot), loaded.origin.is_some())
    };
    let (hash, count) = (snapshot.hash(), snapshot.config().len());
    if common.json {
        println!("{}", json!({"config_hash": hash, "entities": count, "signed": signed}));
    } else {
        let signed = if signed { "signed" } else { "not signed" };
        println!("Config {hash}: {count} entities, {signed}.");
    }
    Ok(())
}
