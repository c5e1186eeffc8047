//! Access logs, written by a thread of their own so that no proxy core waits for a disk.
//!
//! Cores append whole lines to a buffer in memory; the writer takes the buffer as a whole and
//! leaves an empty one. A full buffer drops lines and counts them: traffic goes before its log.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::file::append_to;
use super::trouble::Trouble;

/// Bytes of lines that may wait for the disk.
pub const BUFFER_BYTES: usize = 4 << 20;

/// How long the writer lets lines gather, so that it wakes up rarely under load.
const GATHER: Duration = Duration::from_millis(10);

/// How long no write has failed when the log is in order again.
const QUIET: Duration = Duration::from_secs(5);

/// Where an access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessTarget {
    /// The standard output stream.
    Stdout,
    /// The standard error stream.
    Stderr,
    /// A file, appended to and opened again on demand.
    File(PathBuf),
}

/// The writing end of an access log; clones write to the same log.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
    limit: usize,
    dropped: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    reopen: bool,
    stop: bool,
}

impl AccessLog {
    /// Opens a log and starts its thread; at most `limit` bytes of lines wait in memory.
    ///
    /// # Errors
    /// Returns the system's reason when the file cannot be opened or the thread not started.
    pub fn open(target: AccessTarget, limit: usize) -> io::Result<(Self, AccessGuard)> {
        let output = Output::open(target)?;
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            changed: Condvar::new(),
            limit,
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let log = Self(shared.clone());
        let writer = shared.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.write_until_stopped(output))?;
        Ok((log, AccessGuard { shared, thread: Some(thread) }))
    }

    /// Appends one line, given without its line end; drops it when the buffer is full.
    pub fn line(&self, line: &[u8]) {
        let mut pending = self.0.lock();
        let before = pending.lines.len();
        if pending.stop || before + line.len() + 1 > self.0.limit {
            drop(pending);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        pending.lines.extend_from_slice(line);
        pending.lines.push(b'\n');
        let half = self.0.limit / 2;
        let wake = before == 0 || (before < half && pending.lines.len() >= half);
        drop(pending);
        if wake {
            self.0.changed.notify_one();
        }
    }

    /// Opens the file again before the next line, after logrotate has moved it.
    pub fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.changed.notify_one();
    }

    /// Returns how many lines found no room.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Returns how many writes and openings the system refused.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }
}

/// Ends the log when dropped: the lines so far are written, later ones are counted as dropped.
#[derive(Debug)]
pub struct AccessGuard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for AccessGuard {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread has no result to lose.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_stopped(&self, mut output: Output) {
        let mut batch = Vec::new();
        let mut trouble = Trouble::lasting(QUIET);
        loop {
            let (reopen, stop) = self.take(&mut batch);
            if reopen && let Err(error) = output.reopen() {
                self.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(?error, "cannot open the access log again");
            }
            match output.write(&batch) {
                Ok(()) if !batch.is_empty() && trouble.ends() => {
                    tracing::info!("the access log is written again");
                }
                Ok(()) => {}
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    if trouble.begins() {
                        tracing::error!(?error, "cannot write the access log: lines are lost");
                    }
                }
            }
            batch.clear();
            if stop {
                return;
            }
        }
    }

    /// Waits for something to do and moves the waiting lines into the empty `batch`.
    fn take(&self, batch: &mut Vec<u8>) -> (bool, bool) {
        let idle = |it: &mut Pending| it.lines.is_empty() && !it.reopen && !it.stop;
        let few = |it: &mut Pending| it.lines.len() < self.limit / 2 && !it.reopen && !it.stop;
        let pending = self.lock();
        let pending =
            self.changed.wait_while(pending, idle).unwrap_or_else(PoisonError::into_inner);
        let gathered = self.changed.wait_timeout_while(pending, GATHER, few);
        let (mut pending, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut pending.lines, batch);
        (std::mem::take(&mut pending.reopen), pending.stop)
    }
}

#[derive(Debug)]
enum Output {
    Stdout,
    Stderr,
    File(PathBuf, File),
}

impl Output {
    fn open(target: AccessTarget) -> io::Result<Self> {
        Ok(match target {
            AccessTarget::Stdout => Self::Stdout,
            AccessTarget::Stderr => Self::Stderr,
            AccessTarget::File(path) => {
                let file = append_to(&path)?;
                Self::File(path, file)
            }
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(path, file) = self {
            *file = append_to(path)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stream = io::stdout().lock();
                stream.write_all(bytes).and_then(|()| stream.flush())
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::File(_, file) => file.write_all(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn scratch() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hybridctl-{}", Clock::System.id()));
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn lines_of_many_threads_arrive_whole_and_all() {
        let dir = scratch();
        let path = dir.join("access.log");
        let (log, guard) = AccessLog::open(AccessTarget::File(path.clone()), BUFFER_BYTES).unwrap();
        std::thread::scope(|scope| {
            for core in 0..4 {
                let log = log.clone();
                scope.spawn(move || {
                    (0..1000).for_each(|n| log.line(format!("core {core} line {n:04}").as_bytes()));
                });
            }
        });
        drop(guard);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4000);
        for core in 0..4 {
            let name = format!("core {core} ");
            let own: Vec<_> = text.lines().filter(|line| line.starts_with(&name)).collect();
            assert!(own.is_sorted() && own.len() == 1000);
        }
        assert_eq!((log.dropped(), log.failed()), (0, 0));
        log.line(b"too late");
        assert_eq!(log.dropped(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_line_without_room_is_dropped_and_counted() {
        let dir = scratch();
        let path = dir.join("access.log");
        let (log, guard) = AccessLog::open(AccessTarget::File(path.clone()), 8).unwrap();
        log.line(b"longer than the buffer");
        log.line(b"fits");
        assert_eq!(log.dropped(), 1);
        drop(guard);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "fits\n");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_moved_file_is_opened_again() {
        let dir = scratch();
        let path = dir.join("access.log");
        let (log, guard) = AccessLog::open(AccessTarget::File(path.clone()), 1024).unwrap();
        std::fs::rename(&path, dir.join("access.log.1")).unwrap();
        log.reopen();
        log.line(b"after");
        drop(guard);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
