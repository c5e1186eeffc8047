//! The file form, `config.json.gz`: gzip of JSON in Kong's declarative shape, with a header.
//!
//! Data planes cache it, `snapshot export` writes it, and it starts a data plane that reaches no
//! control plane. With our header (`_hybrid`) the content must hash to what the header says; a
//! Kong-shaped file without it loads too.
//!
//! Generations: the newest is `config.json.gz`, older good ones are `config.json.gz.1` to `.3`. One
//! that has not proved good does not push out one that has. A file is written under another name,
//! fsynced and renamed, so a crash leaves old or new; the newest is there at any time, so that
//! where it is not, somebody removed it, and wants none of the older ones.

mod encode;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::head::SignedHead;
use super::{Snapshot, VerifyError};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::decide::{self, Fresh};
use crate::domain::declarative;
use crate::domain::entity::Entity;
use crate::domain::hash::ConfigHash;
use crate::failpoint;
use crate::pki::file::{Access, write_new};

pub use encode::{Encoder, encode};

/// The name of the newest generation.
pub const FILE_NAME: &str = "config.json.gz";

/// The format of the header that is written, and the newest that is read.
const FORMAT: u32 = 1;

/// How many generations are kept, the newest included.
const GENERATIONS: usize = 4;

/// The member that holds the header.
const HEADER: &str = "_hybrid";

/// Unpacked bytes that are read at most.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;

/// What stands before the entities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format of the file.
    pub format: u32,
    /// The config in it.
    pub config_hash: ConfigHash,
    /// The head that it was served for, signed by its cluster.
    pub head: Option<SignedHead>,
    /// The cluster's ed25519 key, in hex.
    pub public_key: Option<String>,
    /// The control plane of Kong that it came from; nobody signed it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kong: Option<KongOrigin>,
}

/// Where a config came from that nobody signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KongOrigin {
    /// What its control plane calls it.
    pub config_hash: String,
    /// The control plane, as `host:port`.
    pub control_plane: String,
}

/// A file that was read and verified.
#[derive(Debug)]
pub struct Loaded {
    /// The config.
    pub snapshot: Snapshot,
    /// The head and key in its header.
    pub origin: Option<(SignedHead, String)>,
    /// The control plane of Kong in its header.
    pub kong: Option<KongOrigin>,
}

/// Why a file is not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("cannot be read")]
    Io(#[source] io::Error),
    /// It is not gzip, or ends early, or its checksum is wrong.
    #[error("is damaged: {0}")]
    Damaged(io::Error),
    /// It is not the JSON that was expected.
    #[error("is not valid JSON: {0}")]
    Json(serde_json::Error),
    /// It was written by a newer version.
    #[error("has format {0}, this version reads up to {FORMAT}")]
    NewerFormat(u64),
    /// It is not a declarative configuration.
    #[error("{0}")]
    Declarative(String),
    /// Its content is not what it says.
    #[error("does not verify: {0}")]
    Verify(#[from] VerifyError),
}

/// Reads and verifies the file form.
///
/// # Errors
///
/// It is damaged, of a newer format, not valid, or its content is not what its header says.
pub fn decode(catalog: &Catalog, bytes: &[u8], fresh: &mut Fresh<'_>) -> Result<Loaded, FileError> {
    let mut text = Vec::new();
    let mut unpacked = GzDecoder::new(bytes).take(UNPACKED_BYTES_MAX);
    unpacked.read_to_end(&mut text).map_err(FileError::Damaged)?;
    if unpacked.limit() == 0 {
        return Err(VerifyError::TooLarge { max: UNPACKED_BYTES_MAX }.into());
    }
    let mut tree: Value = serde_json::from_slice(&text).map_err(FileError::Json)?;
    let header = tree.as_object_mut().and_then(|tree| tree.remove(HEADER));
    let Some(header) = header else {
        let snapshot = declared(catalog, &tree, fresh)?;
        return Ok(Loaded { snapshot, origin: None, kong: None });
    };
    // The format goes first: a newer one may not read as this version's header.
    match header.get("format").and_then(Value::as_u64) {
        Some(format) if format > u64::from(FORMAT) => return Err(FileError::NewerFormat(format)),
        _ => {}
    }
    let header: Header = serde_json::from_value(header).map_err(FileError::Json)?;
    let tree = tree.as_object().ok_or_else(|| declarative_error("expected an object"))?;
    let entities = exported(catalog, tree)?;
    let config = decide::assemble(catalog, entities).map_err(VerifyError::rejected)?;
    let snapshot = Snapshot::of(config);
    snapshot.expect(header.config_hash)?;
    let origin = header.head.zip(header.public_key);
    if origin.as_ref().is_some_and(|(head, _)| head.config_hash != header.config_hash) {
        return Err(VerifyError::Malformed("its head is of another config").into());
    }
    Ok(Loaded { snapshot, origin, kong: header.kong })
}

/// Reads the entities that an export has: flat lists by kind, without defaults to fill in.
fn exported(catalog: &Catalog, tree: &Document) -> Result<Vec<Entity>, FileError> {
    let mut entities = Vec::new();
    for (name, list) in tree.iter().filter(|(name, _)| !name.starts_with('_')) {
        let schema = catalog.find(name).ok_or_else(|| VerifyError::UnknownKind(name.clone()))?;
        let list = list.as_array().ok_or(VerifyError::Malformed("a kind is no list"))?;
        for document in list {
            let document = document.as_object().cloned();
            let document = document.ok_or(VerifyError::Malformed("an entity is no object"))?;
            entities.push(declarative::read_flat(schema, document).map_err(VerifyError::Entity)?);
        }
    }
    Ok(entities)
}

/// Reads a declarative tree, as of `declarative_config`.
///
/// # Errors
///
/// What is wrong with it, in Kong's words.
pub fn declared(
    catalog: &Catalog,
    tree: &Value,
    fresh: &mut Fresh<'_>,
) -> Result<Snapshot, FileError> {
    let entities = declarative::parse(catalog, tree, fresh)
        .map_err(|rejection| declarative_error(&rejection.message()))?;
    let config = decide::assemble(catalog, entities).map_err(VerifyError::rejected)?;
    Ok(Snapshot::of(config))
}

/// Parses the text of a declarative file by the ending of its name; without one, JSON goes before
/// YAML.
///
/// # Errors
///
/// Kong's text about what is wrong.
pub fn parse_text(name: &str, text: &str) -> Result<Value, FileError> {
    let failed = |error: &dyn std::fmt::Display| {
        declarative_error(&format!("failed parsing declarative configuration: {error}"))
    };
    let yaml = || serde_yaml_ng::from_str::<Value>(text).map_err(|error| failed(&error));
    let tree = match Path::new(name).extension().and_then(|ending| ending.to_str()) {
        Some("json") => serde_json::from_str(text).map_err(|error| failed(&error))?,
        Some("yaml" | "yml") => yaml()?,
        None => serde_json::from_str(text).or_else(|_| yaml())?,
        Some(_) => {
            let text = format!("unknown file type: {name}. (Accepted types: json, yaml)");
            return Err(declarative_error(&text));
        }
    };
    if !tree.is_object() {
        return Err(failed(&"expected an object"));
    }
    Ok(tree)
}

fn declarative_error(text: &str) -> FileError {
    FileError::Declarative(text.to_owned())
}

/// What the newest generation is when another one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// It served for long enough, or nobody knows: it becomes an older generation.
    Good,
    /// It has not served for long enough: it becomes one only if there is none.
    Unproven,
    /// It cannot be served: it is replaced.
    Bad,
}

/// Writes a new generation: on disk, whole, readable by its owner alone, or not at all.
pub fn store(directory: &Path, bytes: &[u8], newest: Newest) -> io::Result<()> {
    let temporary = directory.join(format!("{FILE_NAME}.new"));
    write_private(&temporary, bytes)?;
    let keeps = match newest {
        Newest::Good => true,
        Newest::Unproven => !generation(directory, 1).exists(),
        Newest::Bad => false,
    };
    if keeps && generation(directory, 0).exists() {
        for number in (2..GENERATIONS).rev() {
            failpoint::hit("cache.shift");
            match fs::rename(generation(directory, number - 1), generation(directory, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        copy(&generation(directory, 0), &generation(directory, 1))?;
        failpoint::hit("cache.shifted");
    }
    fs::rename(&temporary, generation(directory, 0))?;
    failpoint::hit("cache.renamed");
    File::open(directory)?.sync_all()
}

fn generation(directory: &Path, number: usize) -> PathBuf {
    match number {
        0 => directory.join(FILE_NAME),
        number => directory.join(format!("{FILE_NAME}.{number}")),
    }
}

/// Gives a file a second name; where the file system has no such names, a copy.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(from, to).or_else(|_| write_private(to, &fs::read(from)?))
}

/// Writes a file that only its owner can read, and fsyncs it; one that cannot be completed is
/// removed again.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(path, bytes, Access::Private)
}

/// Returns the generations that there are, the newest first; none where the newest is missing.
pub fn generations(directory: &Path) -> Vec<PathBuf> {
    let all = (0..GENERATIONS).map(|number| generation(directory, number));
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    let (newest, older): (Vec<_>, Vec<_>) =
        all.filter(is_there).partition(|path| path.ends_with(FILE_NAME));
    if newest.is_empty() { newest } else { [newest, older].concat() }
}

/// Reads and verifies a generation.
///
/// # Errors
///
/// It cannot be read, or as [`decode`].
pub fn load(catalog: &Catalog, path: &Path, fresh: &mut Fresh<'_>) -> Result<Loaded, FileError> {
    decode(catalog, &fs::read(path).map_err(FileError::Io)?, fresh)
}

#[cfg(test)]
mod tests;
