//! Reading a `reconfigure` message (reference hybrid.md, sections 4.2 and 6.5). The content is
//! believed once it is valid here; the names in it are the control plane's and decide nothing.

use serde::Deserialize;
use serde_json::Value;

use super::pretty::pretty;
use crate::domain::catalog::Catalog;
use crate::domain::decide::{self, Fresh};
use crate::domain::declarative;
use crate::domain::rejection::Rejection;
use crate::snapshot::gzip::unpack;
use crate::snapshot::{Snapshot, VerifyError};

/// What a control plane sent.
#[derive(Clone, Debug)]
pub enum Message {
    /// A config.
    Reconfigure(Box<Reconfigure>),
    /// Something of a type that is unknown here, which is to be ignored.
    Ignored,
}

/// A config, not yet checked.
#[derive(Clone)]
pub struct Reconfigure {
    /// What the control plane calls it, to be repeated in pings; none if that is no text.
    pub config_hash: Option<String>,
    /// When the message was made, as it was sent.
    pub timestamp: Option<String>,
    table: Value,
}

impl std::fmt::Debug for Reconfigure {
    /// Shows the name only: the table holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reconfigure({:?})", self.config_hash)
    }
}

/// Why bytes are no message; the connection is to be closed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They cannot be unpacked, or are too many then.
    #[error("unable to unpack the message: {0}")]
    Unpack(#[source] VerifyError),
    /// They are not JSON.
    #[error("unable to decode the message: {0}")]
    Json(#[source] serde_json::Error),
    /// They are not what a message is.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
}

/// Why a config is not served: Kong's text on all that is wrong with it, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad config received from control plane {0}")]
pub struct BadConfig(String);

impl BadConfig {
    /// Returns the line for the log, to be written at the level of errors.
    pub fn line(&self) -> String {
        format!("unable to update running config: {self}")
    }
}

/// What is read of a message. Hashes of sections are hints, which are not needed.
#[derive(Deserialize)]
struct Raw {
    r#type: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    timestamp: Option<Value>,
    config_table: Option<Value>,
    config_hash: Option<Value>,
}

/// Tells null from nothing.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Reads the payload of a frame; `unpacked_max` bounds the memory that a hostile one can take.
///
/// # Errors
///
/// It is no message: the connection is to be closed.
pub fn read(packed: &[u8], unpacked_max: u64) -> Result<Message, ReadError> {
    let text = unpack(packed, unpacked_max).map_err(ReadError::Unpack)?;
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(b'[' | b'"') => {
            let ignored = serde_json::from_slice::<serde::de::IgnoredAny>(&text);
            return ignored.map(|_| Message::Ignored).map_err(ReadError::Json);
        }
        _ => return Err(ReadError::Malformed("expected an object")),
    }
    let raw: Raw = serde_json::from_slice(&text).map_err(ReadError::Json)?;
    if raw.r#type.as_ref().and_then(Value::as_str) != Some("reconfigure") {
        return Ok(Message::Ignored);
    }
    let timestamp = match raw.timestamp {
        None => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => return Err(ReadError::Malformed("timestamp is no number")),
    };
    let config_hash = match raw.config_hash {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let table = raw.config_table.unwrap_or_default();
    Ok(Message::Reconfigure(Box::new(Reconfigure { config_hash, timestamp, table })))
}

impl Reconfigure {
    /// Checks the config, whole, and freezes it.
    ///
    /// # Errors
    ///
    /// It is not valid here; the last good one stays.
    pub fn verify(&self, catalog: &Catalog, fresh: &mut Fresh<'_>) -> Result<Snapshot, BadConfig> {
        let entities = declarative::receive(catalog, &self.table, fresh)
            .map_err(|rejection| BadConfig(pretty(&rejection.fields())))?;
        let config = decide::assemble(catalog, entities).map_err(|wrong| {
            let lines = wrong.iter().map(|(key, rejection)| match rejection {
                // Unique values can be secrets.
                Rejection::NotUnique(_) => format!("in '{key}': uniqueness violation"),
                rejection => format!("in '{key}': {}", rejection.message()),
            });
            BadConfig(lines.collect::<Vec<_>>().join("\n"))
        })?;
        Ok(Snapshot::of(config))
    }
}
