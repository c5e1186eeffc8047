//! The pack: a whole snapshot as one compressed stream, for a data plane that has nothing yet.
//!
//! Gzip of every node of the tree, a parent before its children, each behind its length as four
//! bytes big-endian. What comes out is believed node by node, as if each had been asked for.

use std::io::{ErrorKind, Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::assembly::Assembly;
use super::{Snapshot, VerifyError};
use crate::domain::catalog::Catalog;
use crate::domain::hash::{ConfigHash, NodeHash};

/// Unpacked bytes that are read at most: ten times what a million entities need would be an attack.
pub const UNPACKED_BYTES_MAX: u64 = 2 << 30;

/// Returns the pack of a snapshot.
pub fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for node in snapshot.tree().nodes() {
        let bytes = node.bytes();
        let length = u32::try_from(bytes.len()).expect("a node is some kilobytes");
        packed.write_all(&length.to_be_bytes()).expect("writing to memory cannot fail");
        packed.write_all(&bytes).expect("writing to memory cannot fail");
    }
    packed.finish().expect("writing to memory cannot fail")
}

/// Returns nodes in a row, each behind its length as in a pack, but not compressed.
pub fn join<'a>(nodes: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let mut joined = Vec::new();
    for bytes in nodes {
        let length = u32::try_from(bytes.len()).expect("a node is some kilobytes");
        joined.extend_from_slice(&length.to_be_bytes());
        joined.extend_from_slice(bytes);
    }
    joined.into()
}

/// Takes apart what [`join`] put together.
///
/// # Errors
///
/// It ends within a node.
pub fn split(joined: &Bytes) -> Result<Vec<Bytes>, VerifyError> {
    let mut rest = joined.clone();
    let mut nodes = Vec::new();
    while !rest.is_empty() {
        let torn = || VerifyError::Malformed("an answer ends within a node");
        let length = rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length));
        let end = 4 + length.ok_or_else(torn)? as usize;
        if rest.len() < end {
            return Err(torn());
        }
        nodes.push(rest.split_to(end).slice(4..));
    }
    Ok(nodes)
}

/// Reads the pack of the snapshot `root`.
///
/// # Errors
///
/// It is not a pack, not of that snapshot, or the config in it is not valid here.
pub fn decode(catalog: &Catalog, root: ConfigHash, packed: &[u8]) -> Result<Snapshot, VerifyError> {
    let mut unpacked = GzDecoder::new(packed).take(UNPACKED_BYTES_MAX);
    let mut assembly = Assembly::new(root, None);
    while !assembly.missing().is_empty() {
        let mut length = [0; 4];
        unpacked.read_exact(&mut length).map_err(VerifyError::Unpack)?;
        let length = u64::from(u32::from_be_bytes(length));
        if length > unpacked.limit() {
            return Err(VerifyError::Unpack(ErrorKind::UnexpectedEof.into()));
        }
        let mut bytes = Vec::new();
        let read = unpacked.by_ref().take(length).read_to_end(&mut bytes);
        if read.map_err(VerifyError::Unpack)? as u64 != length {
            return Err(VerifyError::Malformed("the pack ends within a node"));
        }
        let hash = NodeHash(*blake3::hash(&bytes).as_bytes());
        assembly.feed(hash, Bytes::from(bytes))?;
    }
    assembly.finish(catalog)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::Config;
    use crate::domain::entity::Entity;
    use crate::domain::kinds::consumer;

    fn snapshot(catalog: &Catalog, count: u128) -> Snapshot {
        let consumer = |i: u128| {
            let id = uuid::Uuid::from_u128(i);
            let document = serde_json::json!({
                "id": id, "created_at": 1, "updated_at": 1, "username": format!("u{i}"),
            });
            Entity::new(consumer::KIND, document.as_object().unwrap()).unwrap()
        };
        Snapshot::of(Config::of(catalog, (1..=count).map(consumer)))
    }

    #[test]
    fn a_pack_gives_back_its_snapshot() {
        let catalog = Catalog::new(Vec::new());
        for count in [0, 1, 2000] {
            let snapshot = snapshot(&catalog, count);
            let packed = encode(&snapshot);
            assert_eq!(decode(&catalog, snapshot.hash(), &packed).unwrap(), snapshot);
        }
    }

    #[test]
    fn nodes_in_a_row_come_apart_again() {
        let nodes = vec![Bytes::from("a"), Bytes::new(), Bytes::from(vec![7; 70_000])];
        let joined = join(&nodes);
        assert_eq!(split(&joined).unwrap(), nodes);
        assert!(split(&join([])).unwrap().is_empty());
        for end in [1, 4, joined.len() - 1] {
            assert!(split(&joined.slice(..end)).is_err(), "{end}");
        }
        assert!(split(&Bytes::from(vec![0xff; 8])).is_err());
    }

    #[test]
    fn a_damaged_or_foreign_pack_is_refused() {
        let catalog = Catalog::new(Vec::new());
        let snapshot = snapshot(&catalog, 200);
        let packed = encode(&snapshot);
        assert!(decode(&catalog, ConfigHash([1; 32]), &packed).is_err());
        for at in (0..packed.len()).step_by(97) {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x10;
            // The gzip header has bits that mean nothing.
            if let Ok(read) = decode(&catalog, snapshot.hash(), &damaged) {
                assert_eq!(read, snapshot);
            }
            assert!(decode(&catalog, snapshot.hash(), &packed[..at]).is_err());
        }
    }
}
