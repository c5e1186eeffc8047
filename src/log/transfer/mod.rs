//! The log as a file: one JSON object a line, first what the database holds once, then every row.
//!
//! A row's line has its columns under their names, `changes` as the text that was hashed, so the
//! chain of hashes goes through the file as it goes through the database. The first line says where
//! the rows end: a file that was cut off is no log. It holds the cluster's signing key, and the
//! rows hold every secret of the configuration: such a file is as private as a database.

mod line;

use std::io::{self, BufRead, Write};

use super::row::Row;
use super::{AppendError, EventLog, Meta, StorageError, Tip};
use crate::domain::event::Seq;

/// The format that is written, and the newest that is read.
const FORMAT: u64 = 1;

/// Rows read or appended at once.
const PAGE_LEN: usize = 500;

/// What stands before the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose log it is.
    pub meta: Meta,
    /// Where the rows end.
    pub tip: Tip,
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

/// Writes the whole log as it is now, and shows each position that was written to `see`.
///
/// # Errors
///
/// The log cannot be read, or the file not be written.
pub async fn export(
    log: &dyn EventLog,
    meta: Meta,
    file: &mut (dyn Write + Send),
    mut see: impl FnMut(Seq),
) -> Result<Header, ExportError> {
    let header = Header { meta, tip: log.tip().await? };
    writeln!(file, "{}", line::header(&header))?;
    let mut at = Seq(0);
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
    Ok(header)
}

/// A file that is read row by row; each row is checked against the one before.
pub struct Reader<R> {
    file: R,
    /// What the first line says.
    pub header: Header,
    line: u64,
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
        Ok(Self { file, header, line: 1, tip: Tip::START })
    }

    /// Returns the next row; none after the last one.
    ///
    /// # Errors
    ///
    /// It is not what follows, or should not be the last one.
    pub fn read(&mut self) -> Result<Option<Row>, FileError> {
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

/// Puts the rows of a file that was checked into an empty log, which becomes the same cluster's in
/// a new `epoch`; what an import that was cut off has put there already stays. Shows each position
/// to `see`.
///
/// # Errors
///
/// The database is not empty, or fails; the file is not what it was when it was checked.
pub async fn import<R: BufRead + Send>(
    log: &dyn EventLog,
    mut file: Reader<R>,
    epoch: u64,
    mut see: impl FnMut(Seq),
) -> Result<Header, ImportError> {
    let header = file.header.clone();
    let there = log.tip().await?;
    let mut known = None;
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

#[cfg(test)]
mod tests;
