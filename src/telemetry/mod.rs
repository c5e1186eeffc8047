//! Structured logs, access logs and the counters of a node.
//!
//! Kong's log levels are wider than ours: our `info!` stands for its `notice`, `debug!` for
//! `debug`. Nothing is ever logged above `error!`, so `crit` and beyond keep a log silent.
//!
//! Invariants:
//! - no access-log line makes a proxy core wait for a disk;
//! - a counter is written by one core and read by all, without a lock.

pub mod access;
pub mod counter;
pub mod exposition;
pub mod file;
pub mod level;
pub mod names;
pub mod trouble;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use self::file::LogFile;
use self::level::{Level, LevelError};

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The standard error stream.
    Stderr,
    /// A file, appended to and opened again on demand.
    File(PathBuf),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, module, message, then `key=value` fields.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is none of Kong's.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The log file cannot be opened.
    #[error("cannot open the log file {path}")]
    File {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Logging is set up already; it can be only once in a process.
    #[error("logging is already set up")]
    Twice(#[from] SetGlobalDefaultError),
}

/// The running log of this process, to change its level and to open its file again.
#[derive(Debug)]
pub struct Guard {
    filter: reload::Handle<Targets, Registry>,
    levels: Mutex<Levels>,
    /// Wakes whoever waits for the end of a temporary level.
    changed: Notify,
    file: Option<LogFile>,
}

/// The level that stays, and the one that is in force for a while.
#[derive(Debug)]
struct Levels {
    lasting: Level,
    temporary: Option<(Level, Instant)>,
}

impl Levels {
    fn in_force(&self) -> Level {
        self.temporary.map_or(self.lasting, |(level, _)| level)
    }
}

impl Guard {
    /// Returns the log of a process that has not set one up: levels change, nothing is written.
    pub fn silent(level: Level) -> Self {
        let (_, filter) = reload::Layer::new(level.targets());
        Self::new(filter, level, None)
    }

    fn new(
        filter: reload::Handle<Targets, Registry>,
        lasting: Level,
        file: Option<LogFile>,
    ) -> Self {
        let levels = Mutex::new(Levels { lasting, temporary: None });
        Self { filter, levels, changed: Notify::new(), file }
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the level in force.
    pub fn level(&self) -> Level {
        self.levels().in_force()
    }

    /// Changes the level from the next line on.
    pub fn set_level(&self, level: Level) {
        self.put(|levels| *levels = Levels { lasting: level, temporary: None });
    }

    /// Changes the level for a while; [`Guard::end_temporary_levels`] brings the old one back.
    pub fn set_level_for(&self, level: Level, duration: Duration) {
        match Instant::now().checked_add(duration) {
            Some(until) => self.put(|levels| levels.temporary = Some((level, until))),
            // A time that the clock will not see.
            None => self.set_level(level),
        }
    }

    fn put(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.levels();
        change(&mut levels);
        // It fails only once the subscriber is gone, and then nobody logs.
        let _ = self.filter.reload(levels.in_force().targets());
        drop(levels);
        self.changed.notify_one();
    }

    /// Ends each temporary level when its time is over; never returns.
    pub async fn end_temporary_levels(&self) {
        loop {
            let until = self.levels().temporary.map(|(_, until)| until);
            let Some(until) = until else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => self.put(|levels| {
                    levels.temporary = levels.temporary.filter(|(_, until)| *until > Instant::now());
                }),
                () = self.changed.notified() => {}
            }
        }
    }

    /// Opens the log file again, after logrotate has moved it; does nothing for a stream.
    ///
    /// # Errors
    /// Returns the system's reason; lines then go on into the old file.
    pub fn reopen(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), LogFile::reopen)
    }
}

/// Sets up the log of this process at one of Kong's levels (`debug` … `emerg`).
///
/// # Errors
/// Fails on an unknown level, on a file that cannot be opened, and when called twice.
pub fn init(level: &str, target: &LogTarget, format: LogFormat) -> Result<Guard, InitError> {
    let level: Level = level.parse()?;
    let file = match target {
        LogTarget::Stderr => None,
        LogTarget::File(path) => {
            let opened = LogFile::open(path)
                .map_err(|source| InitError::File { path: path.clone(), source })?;
            Some(opened)
        }
    };
    let writer = match &file {
        None => BoxMakeWriter::new(io::stderr),
        Some(file) => BoxMakeWriter::new(file.clone()),
    };
    let (filter, handle) = reload::Layer::new(level.targets());
    let subscriber = Registry::default().with(layer(writer, format).with_filter(filter));
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(Guard::new(handle, level, file))
}

/// Returns the layer that writes lines of `format`.
fn layer<W>(writer: W, format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
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

    fn logged(format: LogFormat, write: impl FnOnce()) -> String {
        let dir = scratch();
        let path = dir.join("error.log");
        let file = LogFile::open(&path).unwrap();
        let lines = layer(file, format).with_filter(Level::Notice.targets());
        tracing::subscriber::with_default(Registry::default().with(lines), write);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        text
    }

    #[test]
    fn text_lines_carry_level_message_and_fields() {
        let text = logged(LogFormat::Text, || {
            tracing::warn!(node = "n1", "[clustering] lost");
            tracing::debug!("quiet");
            tracing::info!(target: "rustls", "chatter of a library");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("WARN") && text.ends_with("[clustering] lost node=\"n1\"\n"),
            "{text}"
        );
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let text = logged(LogFormat::Json, || tracing::error!(seq = 7, "cannot append"));
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["message"], "cannot append");
        assert_eq!(line["seq"], 7);
    }

    #[tokio::test]
    async fn a_temporary_level_ends() {
        let guard = Guard::silent(Level::Notice);
        let watch =
            || tokio::time::timeout(Duration::from_millis(50), guard.end_temporary_levels());
        guard.set_level_for(Level::Debug, Duration::from_secs(3600));
        assert!(watch().await.is_err());
        assert_eq!(guard.level(), Level::Debug);
        guard.set_level_for(Level::Info, Duration::ZERO);
        assert_eq!(guard.level(), Level::Info);
        assert!(watch().await.is_err());
        assert_eq!(guard.level(), Level::Notice);
        guard.set_level_for(Level::Debug, Duration::MAX);
        guard.set_level(Level::Warn);
        assert!(watch().await.is_err());
        assert_eq!(guard.level(), Level::Warn);
    }

    /// The only test that sets the process' log up, which works once.
    #[test]
    fn the_log_changes_level_and_file_while_it_runs() {
        let dir = scratch();
        let path = dir.join("error.log");
        let target = LogTarget::File(path.clone());
        assert!(matches!(init("loud", &target, LogFormat::Text), Err(InitError::Level(_))));
        let missing = LogTarget::File(dir.join("no/error.log"));
        assert!(matches!(init("info", &missing, LogFormat::Text), Err(InitError::File { .. })));

        let guard = init("warn", &target, LogFormat::Text).unwrap();
        assert!(matches!(init("warn", &target, LogFormat::Text), Err(InitError::Twice(_))));
        tracing::info!("first");
        guard.set_level(Level::Debug);
        assert_eq!(guard.level(), Level::Debug);
        tracing::debug!("second");
        std::fs::rename(&path, dir.join("error.log.1")).unwrap();
        tracing::debug!("third");
        guard.reopen().unwrap();
        tracing::debug!("fourth");

        // Other tests of this process may log too, so only these four words are looked for.
        let words = |name: &str| {
            let text = std::fs::read_to_string(dir.join(name)).unwrap();
            ["first", "second", "third", "fourth"].map(|word| text.contains(word))
        };
        assert_eq!(words("error.log.1"), [false, true, true, false]);
        assert_eq!(words("error.log"), [false, false, false, true]);
        guard.set_level(Level::Emerg);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
