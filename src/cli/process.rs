//! The process of a node: its pid file, whether it runs, and signals to it.
//!
//! A running node holds a lock on its pid file, so a file left by a crash, or a pid that now
//! belongs to somebody else, is never taken for a running node.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::settings::Prefix;

/// How often a state of another process is looked at again.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How many times a lock is asked for: whoever only looks holds it for an instant.
const LOCK_ATTEMPTS: u32 = 25;

/// The pid file of this process, held until the node ends.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    locked: File,
}

impl PidFile {
    /// Writes this process's id and keeps the file locked.
    pub(super) fn hold(prefix: &Prefix) -> anyhow::Result<Self> {
        let path = prefix.pid_file();
        for _ in 0..LOCK_ATTEMPTS {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    file.set_len(0)?;
                    writeln!(file, "{}", std::process::id())?;
                    return Ok(Self { path, locked: file });
                }
                // Its former holder removed it between our two steps.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => sleep(LOOK_INTERVAL),
                Err(TryLockError::Error(reason)) => {
                    return Err(reason).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        bail!("Kong is already running in {}", prefix.path().display())
    }

    /// Puts a file of this process in the place of that of another, which still runs: at each moment
    /// one of the two is found.
    pub(super) fn take_over(prefix: &Prefix) -> anyhow::Result<Self> {
        let path = prefix.pid_file();
        let fresh = path.with_extension(std::process::id().to_string());
        let put = || {
            let mut locked =
                OpenOptions::new().create(true).truncate(true).write(true).open(&fresh)?;
            locked.lock()?;
            writeln!(locked, "{}", std::process::id())?;
            std::fs::rename(&fresh, &path)?;
            std::io::Result::Ok(locked)
        };
        let locked = put().with_context(|| format!("cannot take over {}", path.display()))?;
        Ok(Self { path, locked })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another process may have put its own there.
        if is_at(&self.locked, &self.path) {
            // A file that stays is harmless: without the lock it means nothing.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn is_at(file: &File, path: &PathBuf) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Returns the process id of the node that runs in the prefix, if one does.
pub(super) fn running(prefix: &Prefix) -> Option<Pid> {
    for _ in 0..LOCK_ATTEMPTS {
        let file = File::open(prefix.pid_file()).ok()?;
        if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        let text = std::fs::read_to_string(prefix.pid_file()).unwrap_or_default();
        if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) {
            return Some(pid);
        }
        // Locked but not yet written.
        sleep(LOOK_INTERVAL);
    }
    None
}

/// Returns the process id of the node that runs in the prefix, or Kong's complaint.
pub(super) fn require_running(prefix: &Prefix) -> anyhow::Result<Pid> {
    let path = prefix.path().display();
    anyhow::ensure!(prefix.path().is_dir(), "no such prefix: {path}");
    running(prefix).with_context(|| format!("nginx not running in prefix: {path}"))
}

/// Sends a signal to a node.
pub(super) fn send(pid: Pid, signal: Signal) -> anyhow::Result<()> {
    match kill_process(pid, signal) {
        // It ended by itself meanwhile.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(reason) => {
            Err(reason).with_context(|| format!("cannot signal process {}", pid.as_raw_nonzero()))
        }
    }
}

/// Waits until no node runs in the prefix; returns whether that came true in time.
pub(super) fn wait_until_gone(prefix: &Prefix, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while running(prefix).is_some() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_INTERVAL);
    }
    true
}
