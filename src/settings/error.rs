//! Why settings cannot be used.

use std::io;
use std::path::PathBuf;

/// Why settings cannot be used; `Display` gives the first message, as `start` prints it.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file that was asked for does not exist.
    #[error("no file at: {}", .0.display())]
    NoFile(PathBuf),
    /// The file exists but cannot be read.
    #[error("could not load config file: {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says, in words.
        reason: io::Error,
    },
    /// Values are wrong: all of them are named, in the order Kong checks them.
    #[error("{}", .0.first().map_or("the settings are invalid", String::as_str))]
    Invalid(Vec<String>),
}

impl SettingsError {
    /// Returns every message, as `check` prints them.
    pub fn messages(&self) -> Vec<String> {
        match self {
            Self::Invalid(messages) => messages.clone(),
            other => vec![other.to_string()],
        }
    }
}
