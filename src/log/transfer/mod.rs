//! The log as a file: one JSON object a line, first what the database holds once, then every row.
//!
//! A row's line has its columns under their names, `changes` as the text that was hashed, so the
//! chain of hashes goes through the file as it goes through the database. The first line says where
//! the rows end: a file that was cut off is no log. It holds the cluster's signing key, and the
//! rows hold every secret of the configuration: such a file is as private as a database.
//!
//! A log whose oldest events were moved away has format 2: the first line has its checkpoints too, then
//! come the nodes of the config at the newest one, then the rows after it. An archive is the file of
//! the rows up to a checkpoint; it has no nodes, since the archive before it leads to that config.

mod line;

use std::io::{self, BufRead, Write};

use bytes::Bytes;

use super::checkpoint::Checkpoint;
use super::row::Row;
use super::{AppendError, EventLog, Meta, StorageError, StoredSnapshot, Tip};
use crate::domain::event::Seq;
use crate::domain::hash::NodeHash;

/// The format that is written, and the newest that is read.
const FORMAT: u64 = 2;

/// The format of a log from its first event on, as every version writes and reads it.
const FORMAT_WHOLE: u64 = 1;

/// Rows read or appended at once.
const PAGE_LEN: usize = 500;

/// What stands before the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose log it is.
    pub meta: Meta,
    /// The archives that hold what comes before the rows, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// How many nodes come before the rows: of the config at the last checkpoint.
    pub nodes: u64,
    /// Where the rows end.
    pub tip: Tip,
}

impl Header {
    /// Returns the header of a whole log as it is now, without nodes.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub async fn of(log: &dyn EventLog, meta: Meta) -> Result<Self, StorageError> {
        let checkpoints = log.checkpoints().await?;
        Ok(Self { meta, checkpoints, nodes: 0, tip: log.tip().await? })
    }

    /// Returns what the first row follows.
    pub fn start(&self) -> Tip {
        self.checkpoints.last().map_or(Tip::START, |checkpoint| checkpoint.end.tip())
    }
}

/// Why a log was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read.
    #[error("event log cannot be read")]
    Storage(#[from] StorageError),
    /// The file cannot be written.
    #[error("file cannot be written")]
    Write(#[from] io::Error),
    /// A row is missing.
    #[error("event {0} is missing in the log")]
    Missing(Seq),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// A newer version wrote it.
    #[error("it has format {0}, this version reads up to {FORMAT}")]
    Newer(u64),
    /// A line is not what this program writes.
    #[error("line {line}: {what}")]
    Line {
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A row does not follow the one before, or its columns do not have its hash.
    #[error("event {0} was changed, or does not follow the event before it")]
    Chain(Seq),
    /// It ends too early, or goes on for too long.
    #[error("it should end with event {expected}, and ends with {found}")]
    End {
        /// The last position by the first line.
        expected: Seq,
        /// The last position that is there.
        found: Seq,
    },
}

/// Why a file was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is no whole log.
    #[error("file is no log: {0}")]
    File(#[from] FileError),
    /// The database has events already, and they are not the first ones of the file.
    #[error("log is not empty: it has {0} events that the file does not begin with")]
    NotEmpty(Seq),
    /// The file begins after events that neither the database has nor a file before it.
    #[error("file begins after event {0}: import the archives of the events up to there first")]
    Gap(Seq),
    /// Somebody else writes to the database.
    #[error("database is written to by somebody else")]
    Taken,
    /// The database is another cluster's.
    #[error(
        "database belongs to another cluster already: take one that no control plane was started \
         on yet"
    )]
    Foreign,
    /// The database failed.
    #[error("event log cannot be read")]
    Storage(#[from] StorageError),
    /// A row was not appended.
    #[error("events were not appended")]
    Append(#[from] AppendError),
}

/// Writes the rows that a header speaks of, after the nodes, and shows each position that was written
/// to `see`.
///
/// # Errors
///
/// The log cannot be read, or the file not be written.
pub async fn export(
    log: &dyn EventLog,
    header: &Header,
    nodes: &[(NodeHash, Bytes)],
    file: &mut (dyn Write + Send),
    mut see: impl FnMut(Seq),
) -> Result<(), ExportError> {
    writeln!(file, "{}", line::header(header, nodes.len()))?;
    for (_, bytes) in nodes {
        writeln!(file, "{}", line::node(bytes))?;
    }
    let mut at = header.start().seq;
    while at < header.tip.seq {
        let left = usize::try_from(header.tip.seq.0 - at.0).unwrap_or(PAGE_LEN);
        let rows = log.read(at, left.min(PAGE_LEN) as u32).await?;
        if rows.is_empty() {
            return Err(ExportError::Missing(at.next()));
        }
        for row in rows {
            if row.seq != at.next() {
                return Err(ExportError::Missing(at.next()));
            }
            writeln!(file, "{}", line::row(&row))?;
            at = row.seq;
        }
        see(at);
    }
    file.flush()?;
    Ok(())
}

/// A file that is read row by row; each row is checked against the one before.
pub struct Reader<R> {
    file: R,
    /// What the first line says.
    pub header: Header,
    line: u64,
    /// How many nodes are still to come.
    nodes: u64,
    tip: Tip,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    ///
    /// It is not the first line of a log.
    pub fn new(mut file: R) -> Result<Self, FileError> {
        let mut text = String::new();
        file.read_line(&mut text)?;
        let header = line::parse_header(&text)?;
        let (nodes, tip) = (header.nodes, header.start());
        Ok(Self { file, header, line: 1, nodes, tip })
    }

    /// Returns the next node; none after the last one.
    ///
    /// # Errors
    ///
    /// It is no node, or not there.
    pub fn read_node(&mut self) -> Result<Option<(NodeHash, Bytes)>, FileError> {
        if self.nodes == 0 {
            return Ok(None);
        }
        let mut text = String::new();
        self.file.read_line(&mut text)?;
        (self.line, self.nodes) = (self.line + 1, self.nodes - 1);
        let wrong = || FileError::Line { line: self.line, what: "this is no node".to_owned() };
        let bytes = line::parse_node(&text).ok_or_else(wrong)?;
        Ok(Some((NodeHash(*blake3::hash(&bytes).as_bytes()), bytes)))
    }

    /// Returns all nodes that are still to come.
    ///
    /// # Errors
    ///
    /// One of them is none.
    pub fn read_nodes(&mut self) -> Result<Vec<(NodeHash, Bytes)>, FileError> {
        std::iter::from_fn(|| self.read_node().transpose()).collect()
    }

    /// Returns the next row, after all nodes; none after the last one.
    ///
    /// # Errors
    ///
    /// It is not what follows, or should not be the last one.
    pub fn read(&mut self) -> Result<Option<Row>, FileError> {
        while self.read_node()?.is_some() {}
        let mut text = String::new();
        let end = FileError::End { expected: self.header.tip.seq, found: self.tip.seq };
        if self.file.read_line(&mut text)? == 0 {
            return if self.tip == self.header.tip { Ok(None) } else { Err(end) };
        }
        self.line += 1;
        if self.tip.seq >= self.header.tip.seq {
            return Err(end);
        }
        let row = line::parse_row(&text)
            .map_err(|what| FileError::Line { line: self.line, what: what.to_owned() })?;
        let follows = row.seq == self.tip.seq.next() && row.prev_hash == self.tip.hash;
        if !follows || row.digest() != row.hash {
            return Err(FileError::Chain(row.seq));
        }
        self.tip = row.tip();
        Ok(Some(row))
    }

    /// Reads to the end and checks that it is one.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(mut self) -> Result<Header, FileError> {
        while self.read()?.is_some() {}
        Ok(self.header)
    }
}

/// Puts the rows of a file that was checked into a log that ends where the file begins, or is empty if
/// the file has the config that its rows follow. The log becomes the same cluster's in a new `epoch`;
/// what an import that was cut off has put there already stays. Shows each position to `see`.
///
/// # Errors
///
/// The database has other events, or fails; the file is not what it was when it was checked.
pub async fn import<R: BufRead + Send>(
    log: &dyn EventLog,
    mut file: Reader<R>,
    epoch: u64,
    mut see: impl FnMut(Seq),
) -> Result<Header, ImportError> {
    let header = file.header.clone();
    let nodes = file.read_nodes()?;
    let mut there = log.tip().await?;
    if there == Tip::START && header.start() != Tip::START && nodes.is_empty() {
        return Err(ImportError::Gap(header.start().seq));
    }
    let mut known = Some(header.start()).filter(|start| there == Tip::START || *start == there);
    while file.tip.seq < there.seq && file.tip.seq < header.tip.seq {
        known = file.read()?.map(|row| row.tip());
    }
    if there != Tip::START && known != Some(there) {
        return Err(ImportError::NotEmpty(there.seq));
    }
    let wanted = Meta { epoch, ..header.meta.clone() };
    let stored = log.meta(wanted.clone()).await?;
    if (stored.cluster_id, &stored.signing_key) != (wanted.cluster_id, &wanted.signing_key) {
        return Err(ImportError::Foreign);
    }
    if there == Tip::START
        && let Some(newest) = header.checkpoints.last()
    {
        begin(log, &header.checkpoints, newest, nodes).await?;
        there = newest.end.tip();
    }
    let mut at = there;
    loop {
        let mut rows = Vec::with_capacity(PAGE_LEN);
        while rows.len() < PAGE_LEN {
            match file.read()? {
                Some(row) => rows.push(row),
                None => break,
            }
        }
        let Some(last) = rows.last() else { break };
        let end = last.tip();
        log.append(at, &rows).await?;
        at = end;
        see(at.seq);
    }
    log.raise_epoch(epoch).await?;
    Ok(header)
}

/// Has an empty log begin after a checkpoint.
async fn begin(
    log: &dyn EventLog,
    checkpoints: &[Checkpoint],
    newest: &Checkpoint,
    nodes: Vec<(NodeHash, Bytes)>,
) -> Result<(), ImportError> {
    let end = newest.end;
    let snapshot = StoredSnapshot { seq: end.seq, config_hash: end.config_hash };
    log.store_snapshot(snapshot, None, nodes).await?;
    match log.record_checkpoints(checkpoints).await? {
        true => Ok(()),
        false => Err(ImportError::Taken),
    }
}

#[cfg(test)]
mod tests;
