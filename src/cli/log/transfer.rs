//! `log export`, `log import` and `log new-epoch`: the log on its way to another database.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::line::print;
use super::verify::Progress;
use crate::cli::database::Target;
use crate::cli::output::Output;
use crate::cli::{JsonArgs, SettingsArgs, process};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::log::archive::{self, Draft};
use crate::log::transfer::{self, FileError, Header, Reader};
use crate::log::{Meta, Tip};
use crate::planes::identity;
use crate::settings::Settings;
use crate::writer::compaction;
use crate::writer::history::{self, History};

/// Write the whole log to a file: a backup, and the way to a database of another kind
///
/// Of a log that was compacted these are the events after its newest checkpoint, and the
/// configuration there; archives have the rest.
///
/// The file has one JSON object a line and the same chain of hashes. It holds the cluster's
/// signing key and every secret of the configuration, so only its owner can read it. Tokens of
/// the Admin API are not in it.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    common: JsonArgs,
}

/// Bring an exported log into an empty database
///
/// A log that was compacted comes with its archives, and is whole again, or without them: then it
/// begins where the exported one did.
///
/// The file is checked as a whole first. The database becomes the same cluster's, with the same
/// hashes, in a new epoch (see `log new-epoch`), so data planes follow it at once. It must be one
/// that no control plane was started on yet. An import that was cut off goes on when it is
/// started again.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// Files to read: an export, and archives of `log compact` before it if it is to be whole
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    common: JsonArgs,
}

/// Begin a new epoch, after a database file was restored from an older copy
///
/// Data planes refuse a head that is older than what they serve: it could be a replay. A control
/// plane whose database lost its last events would therefore be refused until it has written
/// more events than it ever had, and longer if the hashes differ. A new epoch, signed with each
/// head, tells data planes that this log is the one to follow now, whatever they served; those of
/// before are refused from then on.
///
/// Stop the control planes, put the copy in place (with SQLite, remove the -wal and -shm files
/// beside the old one), run this, and start them.
#[derive(Debug, clap::Args)]
pub(super) struct NewEpochArgs {
    #[command(flatten)]
    common: JsonArgs,
}

/// Returns the epoch after one. The time makes it later than what an earlier restore of the same
/// copy has chosen, which this database knows nothing of.
fn epoch_after(epoch: u64) -> u64 {
    let seconds = u64::try_from(Clock::System.now().timestamp()).unwrap_or_default();
    seconds.max(epoch.saturating_add(1))
}

/// Checks that no node signs heads of the epoch that ends.
fn expect_stopped(settings: &SettingsArgs) -> anyhow::Result<()> {
    let prefix = Settings::find_prefix(&settings.clone().sources())?;
    let runs = process::running(&prefix).is_some();
    ensure!(!runs, "the node in {} runs: stop it first", prefix.path().display());
    Ok(())
}

/// Writes the file.
pub(super) async fn export(args: ExportArgs, out: &Output) -> anyhow::Result<()> {
    let target = Target::find(args.common.settings)?;
    let log = target.open().await?;
    let history = History::new(log.clone(), target.catalog);
    let meta = identity::meta(&*log, &Clock::System).await?;
    let header = write(&history, meta, &args.output).await;
    let header = header.with_context(|| format!("cannot write {}", args.output.display()))?;
    let path = args.output.display();
    tell(
        &header,
        args.common.json,
        out,
        &format!("exported to {path}"),
        json!({"file": path.to_string()}),
    )
}

async fn write(history: &History, meta: Meta, path: &Path) -> anyhow::Result<Header> {
    let log = &**history.log();
    let header = Header::of(log, meta).await?;
    // A log that begins after a checkpoint begins with the config there.
    let nodes = match header.start() {
        Tip::START => Vec::new(),
        start => compaction::nodes(&*history.rebuild(start.seq, None).await?),
    };
    let mut file = Draft::plain(path)?;
    let mut progress = Progress::new("exported", header.tip.seq.0);
    let written = transfer::export(log, &header, &nodes, &mut file, |seq| progress.at(seq.0)).await;
    progress.end();
    written?;
    file.commit()?;
    Ok(header)
}

/// A file to import.
struct Source {
    path: PathBuf,
    header: Header,
}

/// Checks a file as a whole, the config that its events follow included.
fn check(path: PathBuf, catalog: &Catalog) -> anyhow::Result<Source> {
    let refused = || format!("cannot import {}", path.display());
    let mut file = reader(&path).with_context(refused)?;
    let nodes = file.read_nodes().with_context(refused)?;
    let header = file.check().with_context(refused)?;
    if let (Some(newest), false) = (header.checkpoints.last(), nodes.is_empty()) {
        let whole = history::assemble(newest.end.config_hash, nodes, catalog);
        whole.context("the config that its events follow is not whole").with_context(refused)?;
    }
    Ok(Source { path, header })
}

fn reader(path: &Path) -> Result<Reader<Box<dyn BufRead + Send>>, FileError> {
    Reader::new(archive::open(path)?)
}

/// Reads the files.
pub(super) async fn import(args: ImportArgs, out: &Output) -> anyhow::Result<()> {
    expect_stopped(&args.common.settings)?;
    let target = Target::find(args.common.settings)?;
    let checked = args.files.into_iter().map(|path| check(path, &target.catalog));
    let mut sources = checked.collect::<Result<Vec<_>, _>>()?;
    sources.sort_by_key(|source| source.header.start().seq);
    for pair in sources.windows(2) {
        let [one, next] = pair else { continue };
        let (path, before) = (next.path.display(), one.path.display());
        let follows = next.header.start() == one.header.tip;
        ensure!(follows, "cannot import {path}: it does not begin where {before} ends");
    }
    let last = sources.last().context("no file was named")?;
    let epoch = epoch_after(last.header.meta.epoch);
    let mut progress = Progress::new("imported", last.header.tip.seq.0);
    let names: Vec<_> = sources.iter().map(|it| it.path.display().to_string()).collect();
    let log = target.create().await?;
    let mut done = Err(anyhow::anyhow!("no file was named"));
    for (index, source) in sources.iter().enumerate() {
        let end = source.header.tip;
        let there = log.trace(end.seq).await.context("cannot read the log")?;
        if index + 1 < sources.len() && there.is_some_and(|there| there.tip() == end) {
            // An import that was cut off got further than this one.
            continue;
        }
        let refused = || format!("cannot import {}", source.path.display());
        let file = reader(&source.path).with_context(refused)?;
        let imported = transfer::import(&*log, file, epoch, |seq| progress.at(seq.0)).await;
        done = imported.with_context(refused);
        if done.is_err() {
            break;
        }
    }
    progress.end();
    log.close().await;
    tell(
        &done?,
        args.common.json,
        out,
        &format!("imported from {}, epoch {epoch}", names.join(" and ")),
        json!({"epoch": epoch}),
    )
}

fn tell(
    header: &Header,
    as_json: bool,
    out: &Output,
    done: &str,
    more: serde_json::Value,
) -> anyhow::Result<()> {
    let (cluster_id, tip) = (header.meta.cluster_id, header.tip);
    if as_json {
        let mut line = json!({"cluster_id": cluster_id, "events": tip.seq, "hash": tip.hash});
        if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
            line.extend(more.clone());
        }
        return print(&line.to_string());
    }
    out.say(&format!("{} events of cluster {cluster_id} {done}; last hash {}", tip.seq, tip.hash));
    Ok(())
}

/// Raises the epoch.
pub(super) async fn new_epoch(args: NewEpochArgs, out: &Output) -> anyhow::Result<()> {
    expect_stopped(&args.common.settings)?;
    let log = Target::find(args.common.settings)?.open().await?;
    let meta = identity::meta(&*log, &Clock::System).await?;
    let epoch = epoch_after(meta.epoch);
    log.raise_epoch(epoch).await.context("cannot store the epoch")?;
    let tip = log.tip().await.context("cannot read the log")?;
    log.close().await;
    if args.common.json {
        return print(&json!({"epoch": epoch, "seq": tip.seq, "hash": tip.hash}).to_string());
    }
    out.say(&format!(
        "Epoch {epoch} begins at event {}: data planes follow this log when its control plane starts.",
        tip.seq
    ));
    Ok(())
}
