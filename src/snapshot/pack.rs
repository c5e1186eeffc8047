//! A whole snapshot as one stream, for a first transfer: a line that names the format, then one
//! line per entity as in the leaves of the tree, compressed.

use std::io::Write as _;

use super::node::{FORMAT, read_head, read_line, write_line};
use super::{Snapshot, VerifyError, gzip};
use crate::domain::catalog::Catalog;
use crate::domain::decide;
use crate::domain::hash::ConfigHash;

/// What every pack begins with, once unpacked.
const MAGIC: &str = "hybridctl-pack ";

/// Lines are compressed in portions of about this many bytes.
const PORTION: usize = 1 << 16;

/// Returns the pack of a snapshot; equal snapshots have equal packs under one release.
pub fn encode(snapshot: &Snapshot) -> Vec<u8> {
    const MEMORY: &str = "compressing into memory cannot fail";
    let mut encoder = gzip::encoder();
    let mut portion = format!("{MAGIC}{FORMAT}\n").into_bytes();
    for entity in snapshot.config().iter() {
        write_line(entity, &mut |bytes| portion.extend_from_slice(bytes));
        if portion.len() >= PORTION {
            encoder.write_all(&portion).expect(MEMORY);
            portion.clear();
        }
    }
    encoder.write_all(&portion).expect(MEMORY);
    encoder.finish().expect(MEMORY)
}

/// Reads the pack of the snapshot `expected`, unpacking `max_bytes` at most.
///
/// # Errors
///
/// Damage, a newer format, entities that are not valid here, or another snapshot.
pub fn decode(
    catalog: &Catalog,
    expected: ConfigHash,
    bytes: &[u8],
    max_bytes: u64,
) -> Result<Snapshot, VerifyError> {
    let unpacked = gzip::unpack(bytes, max_bytes)?;
    let text = std::str::from_utf8(&unpacked).map_err(|_| VerifyError::Malformed("not text"))?;
    let (_, body) = read_head(MAGIC, text)?;
    let entities: Vec<_> =
        body.lines().map(|line| read_line(catalog, line)).collect::<Result<_, _>>()?;
    let config = decide::assemble(catalog, entities).map_err(VerifyError::rejected)?;
    let snapshot = Snapshot::of(config);
    snapshot.expect(expected)?;
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::samples::{catalog, sample};

    const MAX: u64 = 1 << 20;

    #[test]
    fn a_pack_reads_back_and_stands_for_one_snapshot_only() {
        let (catalog, snapshot) = (catalog(), sample(100));
        let pack = encode(&snapshot);
        let copy = decode(&catalog, snapshot.hash(), &pack, MAX).unwrap();
        assert_eq!((copy.hash(), copy.config()), (snapshot.hash(), snapshot.config()));
        let other = decode(&catalog, sample(99).hash(), &pack, MAX);
        assert!(matches!(other, Err(VerifyError::RootMismatch { .. })));
        let empty = Snapshot::of(Default::default());
        assert_eq!(decode(&catalog, empty.hash(), &encode(&empty), MAX).unwrap(), empty);
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let snapshot = sample(100);
        let refused = decode(&catalog(), snapshot.hash(), &encode(&snapshot), 1000);
        assert!(matches!(refused, Err(VerifyError::TooLarge { max: 1000 })));
    }

    #[test]
    fn a_newer_pack_is_told_from_damage() {
        let mut encoder = gzip::encoder();
        encoder.write_all(b"hybridctl-pack 2\n\0whatever").unwrap();
        let newer = decode(&catalog(), sample(1).hash(), &encoder.finish().unwrap(), MAX);
        assert!(matches!(newer, Err(VerifyError::NewerFormat(2))));
    }
}
