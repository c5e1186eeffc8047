//! The archive of a compaction: written, and read back.

use std::path::Path;

use super::{CompactError, Plan};
use crate::domain::event::Seq;
use crate::failpoint;
use crate::log::archive::{self, Draft};
use crate::log::transfer::{self, FileError, Header, Reader};
use crate::log::{EventLog, Meta, Tip};

/// Writes the events that go to a file, compressed, which is on the disk under its name when this
/// returns. A file that is there already is taken for it if it has the same events: it is of an
/// attempt that was cut off. Shows each position that was written to `see`.
///
/// # Errors
///
/// The log cannot be read, the file not be written, or there is another one.
pub async fn archive(
    log: &dyn EventLog,
    meta: Meta,
    plan: &Plan,
    path: &Path,
    see: impl FnMut(Seq),
) -> Result<(), CompactError> {
    if path.try_exists().map_err(FileError::Read)? {
        return check(plan, path).map_err(|_| CompactError::Exists);
    }
    let header = Header { meta, checkpoints: plan.earlier.clone(), nodes: 0, tip: plan.end.tip() };
    let mut draft = Draft::gzip(path).map_err(transfer::ExportError::Write)?;
    transfer::export(log, &header, &[], &mut draft, see).await?;
    draft.commit().map_err(transfer::ExportError::Write)?;
    failpoint::hit("compaction.archived");
    Ok(())
}

/// Reads an archive to its end: every row has its hash, follows the one before, and the last one is
/// the one that the log goes on from.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check(plan: &Plan, path: &Path) -> Result<(), CompactError> {
    let file = Reader::new(archive::open(path).map_err(FileError::Read)?)?;
    let start = plan.earlier.last().map_or(Tip::START, |checkpoint| checkpoint.end.tip());
    let header = file.check()?;
    match (header.start(), header.tip) == (start, plan.end.tip()) {
        true => Ok(()),
        false => Err(FileError::Chain(header.tip.seq).into()),
    }
}
