//! Assembling snapshots out of nodes, good ones and bad ones.

use serde_json::json;

use super::*;
use crate::domain::config::Config;
use crate::domain::kinds::service;
use crate::snapshot::samples::{catalog, id, made, route, service};

fn world(services: u32) -> Snapshot {
    let services = (0..services).flat_map(|n| [service(n, "a"), route(n, n)]);
    Snapshot::of(Config::of(&catalog(), services))
}

/// Feeds nodes of `source` until nothing is missing; returns how many were asked for.
fn pull(assembly: &mut Assembly, source: &Snapshot) -> usize {
    let mut asked = 0;
    loop {
        let missing = assembly.missing();
        if missing.is_empty() {
            return asked;
        }
        for hash in missing {
            let node = source.tree().nodes().find(|node| node.hash() == hash).unwrap();
            assembly.feed(hash, node.bytes()).unwrap();
            asked += 1;
        }
    }
}

#[test]
fn a_snapshot_comes_whole_without_a_base_and_in_part_with_one() {
    let catalog = catalog();
    let source = world(300);
    let mut assembly = Assembly::new(source.hash(), None);
    let all = pull(&mut assembly, &source);
    assert_eq!(all, source.tree().nodes().count());
    let copy = assembly.finish(&catalog).unwrap();
    assert_eq!((copy.hash(), copy.config()), (source.hash(), source.config()));

    let changes = [
        Change::Upserted(service(7, "b")),
        Change::Deleted(route(9, 9).key()),
        Change::Upserted(route(1000, 7)),
    ];
    let next = source.apply(&catalog, &changes);
    let mut assembly = Assembly::new(next.hash(), Some(&copy));
    let some = pull(&mut assembly, &next);
    assert!(some <= 9, "{some} of {all}");
    let moved = assembly.finish(&catalog).unwrap();
    assert_eq!((moved.hash(), moved.config()), (next.hash(), next.config()));

    // What is known is not asked for at all.
    let assembly = Assembly::new(next.hash(), Some(&moved));
    assert!(assembly.missing().is_empty());
    assert_eq!(assembly.finish(&catalog).unwrap().hash(), next.hash());
}

#[test]
fn wrong_bytes_are_refused_and_the_node_stays_missing() {
    let source = world(50);
    let mut assembly = Assembly::new(source.hash(), None);
    let root = source.tree().root_node();
    let mut bad = root.bytes().to_vec();
    bad[20] ^= 1;
    let refused = assembly.feed(root.hash(), bad.into());
    assert!(matches!(refused, Err(VerifyError::NodeMismatch(_))));
    let unasked = assembly.feed(NodeHash([7; 32]), Bytes::new());
    assert!(matches!(unasked, Err(VerifyError::UnexpectedNode(_))));
    assert_eq!(assembly.missing(), [root.hash()]);
    assert!(matches!(assembly.finish(&catalog()), Err(VerifyError::Incomplete(1))));
}

/// Feeds made-up nodes, each under its true hash, and finishes; the last is the root.
fn forged(nodes: &[String]) -> Result<Snapshot, VerifyError> {
    let hash = |text: &String| NodeHash(*blake3::hash(text.as_bytes()).as_bytes());
    let mut assembly = Assembly::new(ConfigHash(hash(nodes.last().unwrap()).0), None);
    for node in nodes.iter().rev() {
        assembly.feed(hash(node), node.clone().into())?;
    }
    assembly.finish(&catalog())
}

fn leaf(entities: &[Entity]) -> String {
    let lines: String = entities.iter().map(|e| format!("{} {}\n", e.kind(), e.text())).collect();
    format!("hybridctl-node 1 0\n{lines}")
}

#[test]
fn a_tree_that_is_not_the_canonical_one_is_refused() {
    let (a, b) = (service(1, "a"), service(2, "a"));
    let mut pair = [a, b];
    pair.sort_by_key(Entity::key);
    assert!(forged(&[leaf(&pair)]).is_ok());
    pair.reverse();
    let refused =
        [leaf(&pair), leaf(&pair).replace("\"host\":\"a\"", "\"host\": \"a\""), leaf(&[]) + "\n"];
    for node in refused {
        assert!(forged(&[node]).is_err());
    }
    let child = leaf(&pair);
    let hash = NodeHash(*blake3::hash(child.as_bytes()).as_bytes());
    let twice = format!("hybridctl-node 1 1\n{hash}\n{hash}\n");
    assert!(matches!(forged(&[child.clone(), twice]), Err(VerifyError::UnexpectedNode(_))));
    let skipped = format!("hybridctl-node 1 2\n{hash}\n");
    assert!(matches!(forged(&[child, skipped]), Err(VerifyError::UnexpectedNode(_))));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let newer = forged(&["hybridctl-node 2 whatever\n".to_owned()]);
    assert!(matches!(newer, Err(VerifyError::NewerFormat(2))));
    let damaged = forged(&["hybridctl-node x\n".to_owned()]);
    assert!(matches!(damaged, Err(VerifyError::Malformed(_))));
}

#[test]
fn errors_name_entity_field_and_reason_but_no_unique_value() {
    let dangling = forged(&[leaf(&[route(1, 1)])]).unwrap_err().to_string();
    let expected = format!("routes {} at /service/id: the foreign key", id(1));
    assert!(dangling.starts_with(&expected), "{dangling}");

    let unknown = forged(&["hybridctl-node 1 0\nrobots {\"id\":1}\n".to_owned()]);
    assert!(matches!(unknown, Err(VerifyError::UnknownKind(kind)) if kind == "robots"));

    let invalid = leaf(&[service(1, "a")]).replace("\"port\":80", "\"port\":800000");
    let invalid = forged(&[invalid]).unwrap_err().to_string();
    let expected = format!("services {} at /port: value should be between 0 and 65535", id(1));
    assert_eq!(invalid, expected);

    let twin = made(service::KIND, json!({"id": id(2), "name": "s1", "host": "h"}));
    let mut pair = [service(1, "a"), twin];
    pair.sort_by_key(Entity::key);
    let twins = forged(&[leaf(&pair)]).unwrap_err().to_string();
    assert!(twins.ends_with("at /name: another entity has the same value"), "{twins}");
}

#[test]
fn a_delta_must_lead_where_it_was_promised_and_be_valid() {
    let catalog = catalog();
    let source = world(20);
    let changes = [Change::Upserted(service(3, "b"))];
    let to = source.apply(&catalog, &changes).hash();
    assert_eq!(source.verify_delta(&catalog, &changes, to).unwrap().hash(), to);
    let elsewhere = source.verify_delta(&catalog, &changes, source.hash());
    assert!(matches!(elsewhere, Err(VerifyError::RootMismatch { .. })));

    let changes = [Change::Deleted(service(3, "a").key())];
    let to = source.apply(&catalog, &changes).hash();
    let referenced = source.verify_delta(&catalog, &changes, to).unwrap_err().to_string();
    assert!(referenced.contains(&id(3).to_string()), "{referenced}");
}
