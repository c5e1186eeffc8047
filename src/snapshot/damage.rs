//! Stored and sent bytes with flipped bits, cut off, or partly zero: what is read of them is the
//! snapshot that was written, or nothing.

use std::io::Read as _;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::gzip::Packer;
use super::samples::{catalog, route, service};
use super::{Snapshot, file, pack};
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::Fresh;

/// How many cases are tried of each form unless `DAMAGE_CASES` says otherwise.
const CASES: u64 = 400;

static CATALOG: LazyLock<Catalog> = LazyLock::new(catalog);

/// Large enough for a tree of several nodes.
static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let services = (0..25).map(|n| service(n, "a.test"));
    let routes = (100..115).map(|n| route(n, n - 100));
    Snapshot::of(Config::of(&CATALOG, services.chain(routes)))
});

fn repack(text: &[u8]) -> Vec<u8> {
    let mut packer = Packer::new();
    packer.write(text);
    packer.finish()
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut text).unwrap();
    text
}

/// Does one kind of damage; returns false if the bytes are as they were.
fn damage(bytes: &mut Vec<u8>, rng: &mut StdRng) -> bool {
    let before = bytes.clone();
    let at = rng.random_range(0..bytes.len());
    match rng.random_range(0..4) {
        0 => bytes.truncate(at),
        1 => bytes[at..].fill(0),
        2 => {
            let end = (at + rng.random_range(1..64)).min(bytes.len());
            bytes[at..end].fill(0);
        }
        _ => bytes[at] ^= 1 << rng.random_range(0..8),
    }
    *bytes != before
}

/// Damages `good` in many ways, and fails if what is read then is another snapshot. Returns how
/// often it was read as if nothing were wrong.
fn try_all(name: &str, good: &[u8], read: impl Fn(&[u8]) -> Option<Snapshot>) -> usize {
    let number = std::env::var("DAMAGE_CASES").ok().and_then(|text| text.parse().ok());
    assert_eq!(read(good).as_ref(), Some(&*SNAPSHOT), "{name}: the good one is read");
    let mut unnoticed = 0;
    for seed in 0..number.unwrap_or(CASES) {
        let mut bytes = good.to_vec();
        if damage(&mut bytes, &mut StdRng::seed_from_u64(seed))
            && let Some(other) = read(&bytes)
        {
            assert_eq!(other, *SNAPSHOT, "{name}, case {seed}");
            unnoticed += 1;
        }
    }
    unnoticed
}

fn read_file(bytes: &[u8]) -> Option<Snapshot> {
    let mut fresh = Fresh { at: chrono::DateTime::UNIX_EPOCH, id: &mut Uuid::nil };
    file::decode(&CATALOG, bytes, &mut fresh).ok().map(|loaded| loaded.snapshot)
}

fn read_pack(bytes: &[u8]) -> Option<Snapshot> {
    pack::decode(&CATALOG, SNAPSHOT.hash(), bytes).ok()
}

/// Ten bytes of gzip's header and eight at its end are the only ones that content can do without.
#[test]
fn a_damaged_cache_is_never_read_as_another_snapshot() {
    let good = file::encode(&CATALOG, &SNAPSHOT, None);
    let unnoticed = try_all("cache", &good, read_file);
    assert!(unnoticed < 20, "{unnoticed} of the cases went unnoticed");
}

#[test]
fn a_cache_that_was_damaged_before_it_was_packed_is_refused_by_its_hash() {
    let text = unpack(&file::encode(&CATALOG, &SNAPSHOT, None));
    try_all("text of a cache", &text, |text| read_file(&repack(text)));
}

#[test]
fn a_damaged_pack_is_never_read_as_another_snapshot() {
    let good = pack::encode(&SNAPSHOT);
    try_all("pack", &good, read_pack);
    let nodes = unpack(&good);
    let unnoticed = try_all("nodes of a pack", &nodes, |nodes| read_pack(&repack(nodes)));
    assert_eq!(unnoticed, 0, "every byte of a node is hashed");
}
