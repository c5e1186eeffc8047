//! Snapshots as files: gzip of JSON in Kong's declarative shape, with a header that says what it
//! must hash to and who signed it; and the generations of them that a data plane keeps.
//!
//! A file with our header is read exactly as it was written. One without is anybody's declarative
//! configuration: names, nesting and defaults are settled, and its hash is what comes out.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::head::SignedHead;
use super::node::FORMAT;
use super::text::{TextError, parse_text};
use super::{Snapshot, VerifyError, gzip};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::decide::{self, Fresh};
use crate::domain::declarative;
use crate::domain::entity::EntityError;
use crate::domain::hash::ConfigHash;
use crate::domain::rejection::Rejection;

/// The newest generation; older ones have `.1` and `.2` behind the name.
pub const NAME: &str = "config.json.gz";

/// How many generations are kept.
pub const GENERATIONS: usize = 3;

/// The member that holds the header.
const HEADER: &str = "_hybrid";

/// What our own files say about themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format of the file; read before anything else.
    pub format: u32,
    /// What the content hashes to.
    pub config_hash: ConfigHash,
    /// Where in which log it was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<SignedHead>,
    /// The public key of the head's signature, for who has none; trust comes from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// A file that was read.
#[derive(Debug)]
pub struct Loaded {
    /// What is in it.
    pub snapshot: Snapshot,
    /// What it says about itself, if it is one of ours. The signature is the caller's to verify.
    pub header: Option<Header>,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system refused.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// Not a JSON or YAML object.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A declarative configuration with errors; its message names them, and may name secrets.
    #[error("the declarative configuration is not valid")]
    Declarative(Box<Rejection>),
    /// Not the snapshot that it should be.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// Returns the file form of a snapshot.
pub fn encode(
    catalog: &Catalog,
    snapshot: &Snapshot,
    head: Option<SignedHead>,
    public_key: Option<String>,
) -> Vec<u8> {
    let header = Header { format: FORMAT, config_hash: snapshot.hash(), head, public_key };
    let packed = write_json(catalog, snapshot, &header).expect("writing to memory cannot fail");
    gzip::seal(&packed)
}

/// Writes entity by entity: a tree of the whole would be many times as large as the config.
fn write_json(catalog: &Catalog, snapshot: &Snapshot, header: &Header) -> io::Result<Vec<u8>> {
    let mut out = io::BufWriter::with_capacity(1 << 16, gzip::encoder());
    out.write_all(b"{\"_hybrid\":")?;
    serde_json::to_writer(&mut out, header)?;
    out.write_all(b",\n\"_format_version\":\"3.0\",\n\"_transform\":false")?;
    for schema in catalog.schemas() {
        let mut separator = format!(",\n\"{}\":[\n", schema.kind);
        let mut empty = true;
        for entity in snapshot.config().of_kind(schema.kind, None) {
            out.write_all(separator.as_bytes())?;
            serde_json::to_writer(&mut out, &declarative::flat(catalog, entity))?;
            ",\n".clone_into(&mut separator);
            empty = false;
        }
        if !empty {
            out.write_all(b"]")?;
        }
    }
    out.write_all(b"}\n")?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// Reads a file's bytes, compressed or not, unpacking `max_bytes` at most. `name` tells JSON from
/// YAML; `fresh` is used for files without our header only.
///
/// # Errors
///
/// Damage, a newer format, a text that is no configuration, or one that is not valid.
pub fn decode(
    catalog: &Catalog,
    name: Option<&str>,
    bytes: &[u8],
    fresh: &mut Fresh<'_>,
    max_bytes: u64,
) -> Result<Loaded, FileError> {
    let unpacked = gzip::is_gzip(bytes).then(|| gzip::unpack(bytes, max_bytes)).transpose()?;
    let text = unpacked.as_deref().unwrap_or(bytes);
    if let Ok(members) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(text)
        && let Some(header) = members.get(HEADER)
    {
        return Ok(decode_own(catalog, header, &members)?);
    }
    let tree = parse_text(name.map(|name| name.trim_end_matches(".gz")), text)?;
    let entities = declarative::parse(catalog, &tree, fresh)
        .map_err(|rejection| FileError::Declarative(Box::new(rejection)))?;
    let config = decide::assemble(catalog, entities).map_err(VerifyError::rejected)?;
    Ok(Loaded { snapshot: Snapshot::of(config), header: None })
}

/// The one field of a header that all formats have.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn decode_own(
    catalog: &Catalog,
    header: &RawValue,
    members: &BTreeMap<String, &RawValue>,
) -> Result<Loaded, VerifyError> {
    let malformed = |_| VerifyError::Malformed("the header cannot be read");
    let Format { format } = serde_json::from_str(header.get()).map_err(malformed)?;
    match format {
        FORMAT => {}
        newer if newer > FORMAT => return Err(VerifyError::NewerFormat(newer)),
        _ => return Err(VerifyError::Malformed("the header names no known format")),
    }
    let header: Header = serde_json::from_str(header.get()).map_err(malformed)?;
    let mut entities = Vec::new();
    for (name, list) in members.iter().filter(|(name, _)| !name.starts_with('_')) {
        let schema = catalog.find(name).ok_or_else(|| VerifyError::UnknownKind(name.clone()))?;
        let list: Vec<Document> = serde_json::from_str(list.get())
            .map_err(|_| VerifyError::Malformed("expected an array of records"))?;
        let read = list.into_iter().map(|document| declarative::read_flat(schema, document));
        entities.extend(read.collect::<Result<Vec<_>, EntityError>>()?);
    }
    let config = decide::assemble(catalog, entities).map_err(VerifyError::rejected)?;
    let snapshot = Snapshot::of(config);
    snapshot.expect(header.config_hash)?;
    if let Some(signed) = &header.head {
        snapshot.expect(signed.head.config_hash)?;
    }
    Ok(Loaded { snapshot, header: Some(header) })
}

/// Reads a file of at most `max_bytes`, before and after unpacking.
///
/// # Errors
///
/// As [`decode`], and what the file system says.
pub fn load(
    catalog: &Catalog,
    path: &Path,
    fresh: &mut Fresh<'_>,
    max_bytes: u64,
) -> Result<Loaded, FileError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > max_bytes) {
        return Err(VerifyError::TooLarge { max: max_bytes }.into());
    }
    let name = path.file_name().and_then(|name| name.to_str());
    // A generation's number says nothing about the type.
    let name = name.map(|name| if name.starts_with(NAME) { NAME } else { name });
    decode(catalog, name, &bytes, fresh, max_bytes)
}

/// Puts a file's bytes in place as the newest generation: readers see the old or the new one, also
/// after a crash. Nothing happens if the newest is the same already.
///
/// # Errors
///
/// What the file system says; the generations are as they were, or moved on by one.
pub fn write_atomic(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let newest = generation(dir, 0);
    if fs::read(&newest).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let temporary = dir.join(format!("{NAME}.tmp"));
    // One that a crash left may have another mode.
    remove(&temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    for older in (1..GENERATIONS.saturating_sub(1)).rev() {
        rename(&generation(dir, older), &generation(dir, older + 1))?;
    }
    let previous = generation(dir, 1);
    // A link rather than a move: there is a newest generation at every moment.
    match fs::hard_link(&newest, &previous) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => rename(&newest, &previous)?,
    }
    fs::rename(&temporary, &newest)?;
    File::open(dir)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn generation(dir: &Path, age: usize) -> PathBuf {
    match age {
        0 => dir.join(NAME),
        age => dir.join(format!("{NAME}.{age}")),
    }
}

/// What a folder of generations holds.
#[derive(Debug)]
pub struct Newest {
    /// The newest generation that can be used.
    pub found: Option<(PathBuf, Loaded)>,
    /// Newer ones that cannot, each with what is wrong: a log line each.
    pub skipped: Vec<(PathBuf, FileError)>,
}

/// Reads the newest generation that is whole. Signatures are the caller's to verify.
pub fn load_newest(catalog: &Catalog, dir: &Path, fresh: &mut Fresh<'_>, max_bytes: u64) -> Newest {
    let mut skipped = Vec::new();
    for age in 0..GENERATIONS {
        let path = generation(dir, age);
        match load(catalog, &path, fresh, max_bytes) {
            Ok(loaded) => return Newest { found: Some((path, loaded)), skipped },
            Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => skipped.push((path, error)),
        }
    }
    Newest { found: None, skipped }
}

#[cfg(test)]
mod tests;
