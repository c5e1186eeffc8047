//! Kong's log levels, and what they mean for ours.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// A log level by Kong's name (`log_level`), the most talkative first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Debug,
    /// The same lines as `notice`.
    Info,
    /// The default: what an operator wants to know.
    Notice,
    /// What needs attention soon.
    Warn,
    /// What went wrong.
    Error,
    /// Nothing, since no line is more severe than an error.
    Crit,
    /// Nothing.
    Alert,
    /// Nothing.
    Emerg,
}

const ALL: [(Level, &str); 8] = [
    (Level::Debug, "debug"),
    (Level::Info, "info"),
    (Level::Notice, "notice"),
    (Level::Warn, "warn"),
    (Level::Error, "error"),
    (Level::Crit, "crit"),
    (Level::Alert, "alert"),
    (Level::Emerg, "emerg"),
];

/// The name is no log level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "log_level has an invalid value: '{0}' (debug, info, notice, warn, error, crit, alert, emerg)"
)]
pub struct LevelError(String);

impl Level {
    /// Returns what is let through: our lines from this level on, and of libraries warnings at
    /// most, because their lower lines tell of every frame and handshake.
    pub(super) fn targets(self) -> Targets {
        let ours = match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info | Self::Notice => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
            Self::Crit | Self::Alert | Self::Emerg => LevelFilter::OFF,
        };
        Targets::new()
            .with_target(env!("CARGO_PKG_NAME"), ours)
            .with_default(ours.min(LevelFilter::WARN))
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let known = ALL.iter().find(|(_, name)| *name == text);
        known.map(|(level, _)| *level).ok_or_else(|| LevelError(text.to_owned()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ALL.iter().find(|(level, _)| level == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_reads_back_and_quietens_in_order() {
        for (level, name) in ALL {
            assert_eq!(name.parse(), Ok(level));
            assert_eq!(level.to_string(), name);
        }
        let error = "NOTICE".parse::<Level>().unwrap_err().to_string();
        assert!(error.starts_with("log_level has an invalid value: 'NOTICE' (debug, "), "{error}");
        let shows = |level: Level, line| level.targets().would_enable("hybridctl::wire", &line);
        assert!(shows(Level::Notice, tracing::Level::INFO));
        assert!(!shows(Level::Notice, tracing::Level::DEBUG));
        assert!(!shows(Level::Crit, tracing::Level::ERROR));
        assert!(!Level::Debug.targets().would_enable("rustls", &tracing::Level::DEBUG));
    }
}
