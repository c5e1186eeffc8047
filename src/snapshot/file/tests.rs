//! Files that come back, and files that must not.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::domain::config::Config;
use crate::domain::entity::Entity;
use crate::domain::kinds::{consumer, service};

fn catalog() -> Catalog {
    Catalog::new(Vec::new())
}

fn with_fresh<T>(work: impl FnOnce(&mut Fresh<'_>) -> T) -> T {
    let mut drawn = 0;
    let mut id = || {
        drawn += 1;
        Uuid::from_u128(drawn)
    };
    let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    work(&mut Fresh { at, id: &mut id })
}

fn read(bytes: &[u8]) -> Result<Loaded, FileError> {
    with_fresh(|fresh| decode(&catalog(), bytes, fresh))
}

fn consumer(number: u128) -> Entity {
    let id = Uuid::from_u128(number);
    let document =
        json!({"id": id, "created_at": 1, "updated_at": 1, "username": format!("u{number}")});
    Entity::new(consumer::KIND, document.as_object().unwrap()).unwrap()
}

fn service(name: &str) -> Entity {
    let id = Uuid::from_u128(name.bytes().map(u128::from).sum());
    let body = json!({"id": id, "host": "a.test", "name": name, "retries": null});
    let body = body.as_object().unwrap().clone();
    with_fresh(|fresh| decide::make(&catalog(), service::KIND, body, fresh).unwrap())
}

fn snapshot(count: u128) -> Snapshot {
    Snapshot::of(Config::of(&catalog(), (1..=count).map(consumer).chain([service("s")])))
}

fn directory() -> PathBuf {
    let name = format!("hybridctl-file-{}", crate::clock::Clock::System.id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_file_gives_back_its_snapshot() {
    for count in [0, 100] {
        let snapshot = snapshot(count);
        let loaded = read(&encode(&catalog(), &snapshot, None)).unwrap();
        assert_eq!(loaded.snapshot, snapshot);
        assert!(loaded.origin.is_none());
    }
}

proptest! {
    /// Whatever was written before: a file is what its snapshot says, to the byte, and the kinds in it
    /// are whole lists.
    #[test]
    fn kept_pieces_change_nothing(
        configs in prop::collection::vec((prop::collection::btree_set(1_u128..400, 0..200), 0_usize..4), 1..5),
    ) {
        let catalog = Arc::new(catalog());
        let encoder = Encoder::new(catalog.clone());
        for (consumers, services) in configs {
            let consumers: BTreeSet<u128> = consumers;
            let services = ["a", "b", "c"].into_iter().take(services).map(service);
            let entities = consumers.into_iter().map(consumer).chain(services);
            let snapshot = Snapshot::of(Config::of(&catalog, entities));
            let bytes = encoder.encode(&snapshot, None);
            prop_assert!(encoder.has_most_of(&snapshot), "it has all of what it wrote last");
            prop_assert!(bytes == encode(&catalog, &snapshot, None));
            let mut text = Vec::new();
            GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
            let mut tree: Value = serde_json::from_slice(&text).unwrap();
            prop_assert!(tree.as_object_mut().unwrap().remove(HEADER).is_some());
            prop_assert_eq!(tree, declarative::export(&catalog, snapshot.config()));
        }
    }
}

#[test]
fn few_leaves_change_with_one_entity() {
    let encoder = Encoder::new(Arc::new(catalog()));
    let (before, after) = (snapshot(1_000), snapshot(1_001));
    assert!(!encoder.has_most_of(&before), "nothing was written");
    encoder.encode(&before, None);
    assert!(encoder.has_most_of(&after));
    assert!(!encoder.has_most_of(&snapshot(2_000)));
}

#[test]
fn content_that_is_not_what_the_header_says_is_refused() {
    let snapshot = snapshot(3);
    let mut text = String::new();
    GzDecoder::new(&encode(&catalog(), &snapshot, None)[..]).read_to_string(&mut text).unwrap();
    let repack = |text: &str| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    assert!(matches!(read(&repack(&text.replace("u2", "u9"))), Err(FileError::Verify(_))));
    let newer = text.replace("\"format\":1", "\"format\":2,\"other\":true");
    assert!(matches!(read(&repack(&newer)), Err(FileError::NewerFormat(2))));
}

#[test]
fn a_file_in_kongs_shape_loads_without_a_header() {
    let text = json!({
        "_format_version": "3.0",
        "services": [{"name": "s", "url": "http://a.test", "routes": [{"paths": ["/"]}]}],
    });
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.to_string().as_bytes()).unwrap();
    let loaded = read(&packed.finish().unwrap()).unwrap();
    assert_eq!(loaded.snapshot.config().len(), 2);
}

/// Returns what each generation holds, by the number of its entities; none for a damaged one.
fn held(directory: &Path) -> Vec<Option<usize>> {
    let catalog = catalog();
    let held = |path: &PathBuf| with_fresh(|fresh| load(&catalog, path, fresh)).ok();
    let paths = generations(directory);
    paths.iter().map(|path| held(path).map(|it| it.snapshot.config().len() - 1)).collect()
}

fn keep(directory: &Path, count: u128, newest: Newest) {
    store(directory, &encode(&catalog(), &snapshot(count), None), newest).unwrap();
}

#[test]
fn three_good_generations_are_kept_behind_the_newest() {
    let directory = directory();
    for count in 1..=6 {
        keep(&directory, count, Newest::Good);
    }
    assert_eq!(held(&directory), [6, 5, 4, 3].map(Some));
    let mode = |path: &PathBuf| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions())
    };
    assert!(generations(&directory).iter().all(|path| mode(path) & 0o777 == 0o600));
    fs::write(directory.join(FILE_NAME), b"garbage").unwrap();
    assert_eq!(held(&directory), [None, Some(5), Some(4), Some(3)]);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_has_not_proved_good_pushes_out_nothing_that_has() {
    let directory = directory();
    keep(&directory, 1, Newest::Good);
    keep(&directory, 2, Newest::Unproven);
    assert_eq!(held(&directory), [2, 1].map(Some), "better than nothing");
    keep(&directory, 3, Newest::Unproven);
    assert_eq!(held(&directory), [3, 1].map(Some));
    keep(&directory, 4, Newest::Good);
    keep(&directory, 5, Newest::Bad);
    assert_eq!(held(&directory), [5, 3, 1].map(Some));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn whoever_removes_the_newest_generation_wants_none() {
    let directory = directory();
    for count in 1..=3 {
        keep(&directory, count, Newest::Good);
    }
    fs::remove_file(directory.join(FILE_NAME)).unwrap();
    assert!(generations(&directory).is_empty());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_file_from_a_control_plane_of_kong_says_so_and_is_a_file_like_any_other() {
    let encoder = Encoder::new(Arc::new(catalog()));
    let kong = KongOrigin { config_hash: "a".repeat(32), control_plane: "cp:8005".into() };
    let loaded = read(&encoder.encode_unsigned(&snapshot(2), kong.clone())).unwrap();
    assert_eq!((loaded.snapshot, loaded.origin, loaded.kong), (snapshot(2), None, Some(kong)));
    let header = Header {
        format: FORMAT,
        config_hash: snapshot(2).hash(),
        head: None,
        public_key: None,
        kong: None,
    };
    let text = serde_json::to_string(&header).unwrap();
    assert!(!text.contains("kong"), "other files are as they were: {text}");
}

#[test]
fn text_is_parsed_by_the_ending_of_its_name() {
    assert!(parse_text("a.yml", "a: 1").is_ok());
    assert!(parse_text("a.json", "{\"a\": 1}").is_ok());
    assert!(parse_text("a", "a: 1").is_ok());
    let said = |name: &str, text: &str| parse_text(name, text).unwrap_err().to_string();
    assert_eq!(said("a.txt", ""), "unknown file type: a.txt. (Accepted types: json, yaml)");
    assert_eq!(said("a.yml", "1"), "failed parsing declarative configuration: expected an object");
    assert!(said("a.json", "{").starts_with("failed parsing declarative configuration: "));
}

/// These hashes are names that users keep: they never change.
#[test]
fn golden_files_keep_their_hashes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/golden/v1");
    let mut seen = 0;
    for file in fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let hash = name.strip_suffix(".json.gz").unwrap_or_else(|| panic!("{name}"));
        let loaded = with_fresh(|fresh| decode(&catalog(), &fs::read(&path).unwrap(), fresh));
        assert_eq!(loaded.unwrap().snapshot.hash().to_hex(), hash);
        seen += 1;
    }
    assert!(seen >= 2, "the golden files are there");
}
