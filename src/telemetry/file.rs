//! A log file that can be opened again under its name, for logrotate.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// A file that lines are appended to; clones write to the same file.
#[derive(Clone, Debug)]
pub struct LogFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    /// Opens `path` for appending, and creates it if need be.
    ///
    /// # Errors
    /// Returns the system's reason.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = Mutex::new(append_to(path)?);
        Ok(Self(Arc::new(Shared { path: path.to_owned(), file })))
    }

    /// Opens the path again: what is there now, or a new file.
    ///
    /// # Errors
    /// Returns the system's reason, and keeps the old file.
    pub fn reopen(&self) -> io::Result<()> {
        let fresh = append_to(&self.0.path)?;
        *self.lock() = fresh;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One turn at the file: a whole line is written under the lock.
pub struct Turn<'a>(MutexGuard<'a, File>);

impl Write for Turn<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Turn<'a>;

    fn make_writer(&'a self) -> Turn<'a> {
        Turn(self.lock())
    }
}

pub(super) fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
