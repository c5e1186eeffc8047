//! `log export`, `log import` and `log new-epoch`: the log on its way to another database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::line::print;
use super::verify::Progress;
use crate::cli::database::Target;
use crate::cli::output::Output;
use crate::cli::{JsonArgs, SettingsArgs, process};
use crate::clock::Clock;
use crate::failpoint;
use crate::log::transfer::{self, Header, Reader};
use crate::log::{EventLog, Meta};
use crate::planes::identity;
use crate::settings::Settings;

/// Write the whole log to a file: a backup, and the way to a database of another kind
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
/// The file is checked as a whole first. The database becomes the same cluster's, with the same
/// hashes, in a new epoch (see `log new-epoch`), so data planes follow it at once. It must be one
/// that no control plane was started on yet. An import that was cut off goes on when it is
/// started again.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// File to read
    #[arg(value_name = "FILE")]
    file: PathBuf,
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
    let meta = identity::meta(&*log, &Clock::System).await?;
    let header = write(&*log, meta, &args.output).await;
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

/// Writes under another name first: a file of that name is whole.
async fn write(log: &dyn EventLog, meta: Meta, path: &Path) -> anyhow::Result<Header> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    let mut file = BufWriter::new(file);
    let mut progress = Progress::new("exported", log.tip().await?.seq.0);
    let written = transfer::export(log, meta, &mut file, |seq| progress.at(seq.0)).await;
    progress.end();
    let header = written?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    failpoint::hit("export.synced");
    fs::rename(&temporary, path)?;
    failpoint::hit("export.renamed");
    Ok(header)
}

/// Reads the file.
pub(super) async fn import(args: ImportArgs, out: &Output) -> anyhow::Result<()> {
    expect_stopped(&args.common.settings)?;
    let target = Target::find(args.common.settings)?;
    let open = || {
        let file = File::open(&args.file).map(BufReader::new);
        file.with_context(|| format!("cannot read {}", args.file.display()))
    };
    let refused = || format!("cannot import {}", args.file.display());
    Reader::new(open()?).and_then(Reader::check).with_context(refused)?;
    let file = Reader::new(open()?).with_context(refused)?;
    let log = target.create().await?;
    let epoch = epoch_after(file.header.meta.epoch);
    let mut progress = Progress::new("imported", file.header.tip.seq.0);
    let done = transfer::import(&*log, file, epoch, |seq| progress.at(seq.0)).await;
    progress.end();
    log.close().await;
    let header = done.with_context(refused)?;
    let path = args.file.display();
    tell(
        &header,
        args.common.json,
        out,
        &format!("imported from {path}, epoch {epoch}"),
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
