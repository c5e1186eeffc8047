//! The tree against its own definition, over random histories.

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::domain::catalog::Catalog;
use crate::domain::hash::NodeHash;
use crate::domain::kinds::{consumer, service};

fn catalog() -> Catalog {
    Catalog::new(Vec::new())
}

fn entity(id: u64, value: u8) -> Entity {
    let kind = if id.is_multiple_of(3) { consumer::KIND } else { service::KIND };
    // Ids are spread as random ones are.
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &id.to_be_bytes());
    let document = json!({"id": id, "name": format!("n{value}")});
    Entity::new(kind, document.as_object().unwrap()).unwrap()
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0_u64..3000, any::<u8>()).prop_map(|(id, value)| Change::Upserted(entity(id, value))),
        (0_u64..3000).prop_map(|id| Change::Deleted(entity(id, 0).key())),
    ]
}

fn hashes(nodes: impl IntoIterator<Item = Arc<Node>>) -> std::collections::BTreeSet<NodeHash> {
    nodes.into_iter().map(|node| node.hash()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equal_configs_have_equal_trees_whatever_their_history(
        start in prop::collection::btree_set(0_u64..3000, 0..2500),
        steps in prop::collection::vec(prop::collection::vec(change(), 1..40), 1..12),
    ) {
        let catalog = catalog();
        let mut config = Config::of(&catalog, start.into_iter().map(|id| entity(id, 0)));
        let mut tree = Tree::build(&config);
        for changes in steps {
            for change in &changes {
                config.apply(&catalog, change);
            }
            let next = tree.apply(&config, &changes);
            let built = Tree::build(&config);
            prop_assert_eq!(hashes(next.nodes()), hashes(built.nodes()));
            let old = hashes(tree.nodes());
            let fresh: std::collections::BTreeSet<_> =
                hashes(next.nodes()).difference(&old).copied().collect();
            prop_assert_eq!(hashes(next.nodes_not_in(&tree)), fresh);
            tree = next;
        }
    }

    #[test]
    fn one_entity_after_the_other_comes_and_goes(ids in prop::collection::vec(0_u64..400, 1..200)) {
        let catalog = catalog();
        let mut config = Config::default();
        let mut tree = Tree::build(&config);
        let empty = tree.root();
        let forth = ids.iter().map(|id| Change::Upserted(entity(*id, 1)));
        let back = ids.iter().rev().map(|id| Change::Deleted(entity(*id, 1).key()));
        for change in forth.chain(back) {
            config.apply(&catalog, &change);
            // Straight to the edit: a small config would be built anew.
            tree = Tree::over(edit(&tree.root, &[(change.key(), config.find(change.key()))]));
            prop_assert_eq!(tree.root(), Tree::build(&config).root());
        }
        prop_assert_eq!(tree.root(), empty);
    }
}

#[test]
fn the_empty_config_has_a_root_that_never_moves() {
    let tree = Tree::build(&Config::default());
    assert_eq!(&tree.root_node().bytes()[..], b"hybridctl-node 1 0\n");
    assert_eq!(tree.root().0, *blake3::hash(b"hybridctl-node 1 0\n").as_bytes());
}

#[test]
fn a_node_is_named_by_its_bytes() {
    let config = Config::of(&catalog(), (0..2000).map(|id| entity(id, 0)));
    let tree = Tree::build(&config);
    assert_eq!(tree.root_node().len(), 2000);
    for node in tree.nodes() {
        assert_eq!(*blake3::hash(&node.bytes()).as_bytes(), node.hash().0);
        let children: Vec<_> = node.children().iter().map(|child| child.hash()).collect();
        let found = super::super::node::children(&node.bytes()).unwrap();
        assert_eq!(found, (node.level(), children));
    }
}

#[test]
fn one_change_makes_one_path_of_new_nodes() {
    let catalog = catalog();
    let mut config = Config::of(&catalog, (0..20_000).map(|id| entity(id, 0)));
    let before = Tree::build(&config);
    let change = Change::Upserted(entity(7, 1));
    config.apply(&catalog, &change);
    let after = before.apply(&config, &[change]);
    let fresh = after.nodes_not_in(&before);
    assert!((2..=5).contains(&fresh.len()), "{} of {}", fresh.len(), after.nodes().count());
}
