//! The pin in the prefix: which cluster a data plane belongs to.

use std::io;
use std::path::Path;

use super::frame::Pin;
use crate::pki::file::{Access, replace};

/// The name of the file in the prefix. Whoever moves a data plane to another cluster removes it,
/// and the cache, which names its cluster too.
pub const FILE_NAME: &str = "cluster.pin";

/// Why a pin cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Io(#[source] io::Error),
    /// It holds something else.
    #[error("is damaged")]
    Damaged(#[source] serde_json::Error),
}

/// Reads the pin; none when there is none yet.
pub fn load(path: &Path) -> Result<Option<Pin>, PinError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(PinError::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PinError::Io(error)),
    }
}

/// Writes the pin: whole and on disk, or not at all.
pub fn store(path: &Path, pin: &Pin) -> io::Result<()> {
    let text = serde_json::to_string(pin)?;
    replace(path, text, Access::Private)
}
