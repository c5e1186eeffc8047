//! Files: written, damaged in every way, and read back.

use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::*;
use crate::domain::config::Config;
use crate::domain::event::Seq;
use crate::domain::kinds::{plugin, service};
use crate::snapshot::head::{Head, Signature};
use crate::snapshot::pack;
use crate::snapshot::samples::{catalog, sample};

const MAX: u64 = 1 << 22;

fn read(name: &str, bytes: &[u8]) -> Result<Loaded, FileError> {
    let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    decode(&catalog(), Some(name), bytes, &mut Fresh { at, id: &mut Uuid::nil }, MAX)
}

fn newest(dir: &Path) -> Newest {
    let at = chrono::DateTime::from_timestamp(0, 0).unwrap();
    load_newest(&catalog(), dir, &mut Fresh { at, id: &mut Uuid::nil }, MAX)
}

fn signed(snapshot: &Snapshot) -> SignedHead {
    let (cluster_id, config_hash) = (Uuid::from_u128(1), snapshot.hash());
    let head = Head { cluster_id, epoch: 0, seq: Seq(7), config_hash };
    SignedHead { head, signature: Signature([5; 64]) }
}

fn own(snapshot: &Snapshot) -> Vec<u8> {
    encode(&catalog(), snapshot, Some(signed(snapshot)), Some("key".into()))
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("hybridctl-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_reads_back_with_its_header() {
    let snapshot = sample(50);
    let loaded = read(NAME, &own(&snapshot)).unwrap();
    assert_eq!(loaded.snapshot.config(), snapshot.config());
    let header = loaded.header.unwrap();
    assert_eq!(header.config_hash, snapshot.hash());
    assert_eq!(header.head, Some(signed(&snapshot)));
    assert_eq!(header.public_key.as_deref(), Some("key"));
    let empty = Snapshot::of(Config::default());
    assert_eq!(read(NAME, &own(&empty)).unwrap().snapshot, empty);
}

#[test]
fn our_file_without_its_header_is_a_declarative_configuration_of_the_same_content() {
    let snapshot = sample(50);
    let text = gzip::unpack(&own(&snapshot), MAX).unwrap();
    let mut tree: serde_json::Value = serde_json::from_slice(&text).unwrap();
    tree.as_object_mut().unwrap().remove(HEADER);
    let loaded = read("kong.json", tree.to_string().as_bytes()).unwrap();
    assert_eq!((loaded.snapshot, loaded.header), (snapshot, None));
}

#[test]
fn the_demo_configuration_loads() {
    let demo = include_bytes!("../../../snapshots/demo.yml");
    let config = read("demo.yml", demo).unwrap().snapshot.config().clone();
    assert!(config.by_unique(service::KIND, "name", &"demo".into()).is_some());
    assert_eq!(config.of_kind(plugin::KIND, None).count(), 1);
    assert_eq!(config.len(), 4);
}

#[test]
fn wrong_files_say_what_is_wrong() {
    let snapshot = sample(5);
    let text = String::from_utf8(gzip::unpack(&own(&snapshot), MAX).unwrap()).unwrap();
    let of = |text: &str| read("config.json", text.as_bytes()).unwrap_err();
    let newer = of(&text.replacen("\"format\":1", "\"format\":2", 1));
    assert!(matches!(newer, FileError::Verify(VerifyError::NewerFormat(2))));
    // The format is read before the rest of the header and the body.
    let newer = of(r#"{"_hybrid":{"format":9,"other":[]},"robots":7}"#);
    assert!(matches!(newer, FileError::Verify(VerifyError::NewerFormat(9))));
    let edited = of(&text.replacen("\"host\":\"a\"", "\"host\":\"b\"", 1));
    assert!(matches!(edited, FileError::Verify(VerifyError::RootMismatch { .. })));
    let declarative = of(r#"{"_format_version":"3.0","services":[{}]}"#);
    assert!(matches!(declarative, FileError::Declarative(_)));
    assert!(matches!(read("a.toml", b"x = 1"), Err(FileError::Text(TextError::UnknownType(_)))));
    let mut encoder = gzip::encoder();
    encoder.write_all(&vec![b' '; 5 << 20]).unwrap();
    let bomb = read(NAME, &encoder.finish().unwrap());
    assert!(matches!(bomb, Err(FileError::Verify(VerifyError::TooLarge { .. }))));
}

/// Damages bytes by a flipped bit, a cut, or a run of zeros; never leaves them as they were.
fn damage(bytes: &[u8], random: &mut impl rand::Rng) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    while damaged == bytes {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => damaged[at] ^= 1 << random.random_range(0..8),
            1 => damaged.truncate(at),
            _ => {
                let end = (at + random.random_range(1..512)).min(bytes.len());
                damaged[at..end].fill(0);
            }
        }
    }
    damaged
}

#[test]
fn all_damage_to_a_file_is_detected() {
    let bytes = own(&sample(20));
    let mut random = rand::rngs::StdRng::seed_from_u64(13);
    for round in 0..2000 {
        let damaged = damage(&bytes, &mut random);
        assert!(read(NAME, &damaged).is_err(), "round {round} went unnoticed");
    }
    for bit in 0..64 * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(NAME, &damaged).is_err(), "bit {bit} went unnoticed");
    }
}

#[test]
fn no_damage_to_a_pack_leads_to_another_config() {
    let snapshot = sample(20);
    let bytes = pack::encode(&snapshot);
    let mut random = rand::rngs::StdRng::seed_from_u64(14);
    for _ in 0..500 {
        let damaged = damage(&bytes, &mut random);
        if let Ok(read) = pack::decode(&catalog(), snapshot.hash(), &damaged, MAX) {
            assert_eq!(read.config(), snapshot.config());
        }
    }
}

#[test]
fn three_generations_are_kept_and_bad_ones_skipped() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("generations");
    let dir = &folder.0;
    assert!(newest(dir).found.is_none());
    let snapshots: Vec<_> = (1..=4).map(sample).collect();
    for snapshot in &snapshots {
        write_atomic(dir, &own(snapshot)).unwrap();
        write_atomic(dir, &own(snapshot)).unwrap();
    }
    assert_eq!(fs::read_dir(dir).unwrap().count(), GENERATIONS);
    let mode = fs::metadata(generation(dir, 0)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (age, expected) in [&snapshots[3], &snapshots[2], &snapshots[1]].into_iter().enumerate() {
        let newest = newest(dir);
        assert_eq!(newest.skipped.len(), age);
        let (path, loaded) = newest.found.unwrap();
        assert_eq!((path, &loaded.snapshot), (generation(dir, age), expected));
        let bytes = fs::read(generation(dir, age)).unwrap();
        fs::write(generation(dir, age), &bytes[..bytes.len() / 2]).unwrap();
    }
    let newest = newest(dir);
    assert!(newest.found.is_none());
    assert_eq!(newest.skipped.len(), GENERATIONS);
}

#[test]
fn golden_files_keep_their_hashes_for_ever() {
    let golden: [(&[u8], &str); 2] = [
        (include_bytes!("../../../snapshots/golden/v1/empty.json.gz"), EMPTY),
        (include_bytes!("../../../snapshots/golden/v1/sample.json.gz"), SAMPLE),
    ];
    for (bytes, hash) in golden {
        assert_eq!(read(NAME, bytes).unwrap().snapshot.hash().to_hex(), hash);
    }
    // What this release makes of the same content is still named the same.
    assert_eq!(Snapshot::of(Config::default()).hash().to_hex(), EMPTY);
    assert_eq!(sample(40).hash().to_hex(), SAMPLE);
}

const EMPTY: &str = "e8bf2c97a1e0619bf015c15fd01a599118f11d409a60fcf6229921b2817902dc";
const SAMPLE: &str = "a9d859acc495ccf4cd583eddd6bab39cea162dbdca463e8bf987b937c5dd9614";
