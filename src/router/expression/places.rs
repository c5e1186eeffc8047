//! Where the index has an expression: what it asks of host and path, read off its operators.

use super::Node;
use super::field::Field;
use super::test::{Operator, Test};
use crate::router::candidate::{HostKey, PathKey, Place};
use crate::router::pattern::beginning;

/// How many places one expression may have before it is tried on every request instead.
const PLACES_MAX: usize = 64;

/// What a request must have to fulfil a part of an expression; nothing is asked where both are
/// none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Need {
    host: Option<HostKey>,
    /// What the path begins with.
    path: Option<String>,
}

/// Returns the places of an expression.
pub(super) fn of(root: &Node) -> Vec<Place> {
    let mut needs = needs(root);
    needs.sort();
    needs.dedup();
    let place = |need: Need| Place {
        host: need.host.unwrap_or(HostKey::Any),
        port: None,
        nth: 0,
        path: need.path.map_or(PathKey::None, |path| PathKey::Prefix(path.into())),
    };
    needs.into_iter().map(place).collect()
}

/// Returns alternatives of which one is met whenever the expression holds.
fn needs(node: &Node) -> Vec<Need> {
    match node {
        Node::Test(test) => vec![need(test)],
        Node::Not(_) => vec![Need::default()],
        Node::Any(parts) => {
            let all: Vec<_> = parts.iter().flat_map(needs).collect();
            let open = all.len() > PLACES_MAX || all.contains(&Need::default());
            if open { vec![Need::default()] } else { all }
        }
        Node::All(parts) => parts.iter().map(needs).fold(vec![Need::default()], both),
    }
}

/// Returns what is needed where both sides hold; one side alone, where the two together are too many.
fn both(left: Vec<Need>, right: Vec<Need>) -> Vec<Need> {
    if left.len() * right.len() > PLACES_MAX {
        return if left.contains(&Need::default()) { right } else { left };
    }
    let pairs = left.iter().flat_map(|one| right.iter().map(move |other| merged(one, other)));
    pairs.collect()
}

fn merged(one: &Need, other: &Need) -> Need {
    let host = one.host.clone().or_else(|| other.host.clone());
    let path = match (&one.path, &other.path) {
        (Some(one), Some(other)) => Some(if other.len() > one.len() { other } else { one }),
        (one, other) => one.as_ref().or(other.as_ref()),
    };
    Need { host, path: path.cloned() }
}

fn need(test: &Test) -> Need {
    let mut need = Need::default();
    if test.lower {
        return need;
    }
    match (&test.field, &test.operator) {
        (Field::Host, Operator::Text(host)) => need.host = Some(HostKey::Exact((&**host).into())),
        // Only whole labels are looked up.
        (Field::Host, Operator::Suffix(end)) if end.starts_with('.') => {
            need.host = Some(HostKey::Suffix((&**end).into()));
        }
        (Field::Host, Operator::Prefix(start)) if start.ends_with('.') => {
            need.host = Some(HostKey::Prefix((&**start).into()));
        }
        (Field::Path, Operator::Text(path) | Operator::Prefix(path)) => {
            need.path = Some(path.to_string());
        }
        (Field::Path, Operator::Pattern(pattern)) => {
            let (literal, _) = beginning(pattern.as_str());
            need.path = String::from_utf8(literal.into()).ok().filter(|path| !path.is_empty());
        }
        _ => {}
    }
    need
}
