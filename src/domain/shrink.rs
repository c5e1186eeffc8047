//! The shrink guard: writes that would take away more than half of the routes or services.
//!
//! An empty file imported, a rollback to the first day, a batch built from a filter that matched too
//! much: each is a valid write and an outage. What is counted is what a write leaves over, so
//! replacing every route by another is no shrink, and clients that delete one by one never meet it.

use std::fmt;

use serde_json::{Map, Value, json};

use super::config::Config;
use super::entity::Kind;
use super::event::Change;
use super::kinds::{route, service};

/// The kinds that are counted: without them nothing is proxied.
const KINDS: [Kind; 2] = [route::KIND, service::KIND];

/// Fewer than this many gone are never too many: small configurations are made and unmade.
pub const GONE_MIN: usize = 10;

/// What a write would leave of the kinds that it takes more than half of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrink(Vec<Loss>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loss {
    kind: Kind,
    from: usize,
    to: usize,
}

impl Shrink {
    /// Returns what changes take away from a config, if it is too much.
    pub fn of(before: &Config, changes: &[Change]) -> Option<Self> {
        let losses = KINDS.into_iter().filter_map(|kind| Loss::of(before, changes, kind));
        let losses: Vec<_> = losses.collect();
        (!losses.is_empty()).then_some(Self(losses))
    }

    /// Returns it kind by kind, as JSON: how many there are and how many would be left.
    pub fn to_json(&self) -> Value {
        let losses = self.0.iter().map(|Loss { kind, from, to }| {
            (kind.name().to_owned(), json!({"from": from, "to": to}))
        });
        Value::Object(losses.collect::<Map<_, _>>())
    }
}

impl fmt::Display for Shrink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Loss { kind, from, to }) in self.0.iter().enumerate() {
            let and = if at > 0 { " and " } else { "" };
            write!(f, "{and}{} of {from} {kind}", from - to)?;
        }
        Ok(())
    }
}

impl Loss {
    fn of(before: &Config, changes: &[Change], kind: Kind) -> Option<Self> {
        // A batch of changes names an entity once; cheap enough to look at on every write.
        let (mut gone, mut made) = (0_usize, 0_usize);
        for change in changes.iter().filter(|change| change.key().kind == kind) {
            match (change, before.find(change.key())) {
                (Change::Deleted(_), Some(_)) => gone += 1,
                (Change::Upserted(_), None) => made += 1,
                _ => {}
            }
        }
        let gone = gone.saturating_sub(made);
        if gone < GONE_MIN {
            return None;
        }
        let from = before.of_kind(kind, None).count();
        (gone * 2 > from).then(|| Self { kind, from, to: from.saturating_sub(gone) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::Catalog;
    use crate::domain::entity::Entity;
    use uuid::Uuid;

    fn entity(kind: Kind, n: usize) -> Entity {
        let id = Uuid::from_u128(n as u128 + 1);
        Entity::new(kind, json!({"id": id, "host": "a"}).as_object().unwrap()).unwrap()
    }

    fn config(services: usize, routes: usize) -> Config {
        let services = (0..services).map(|n| entity(service::KIND, n));
        let routes = (0..routes).map(|n| entity(route::KIND, n));
        Config::of(&Catalog::new(Vec::new()), services.chain(routes))
    }

    #[test]
    fn more_than_half_is_too_much_from_ten_on() {
        for (before, after, shown) in [
            ((9, 9), (0, 0), None),
            ((10, 0), (0, 0), Some("10 of 10 services")),
            ((0, 20), (0, 10), None),
            ((0, 21), (0, 10), Some("11 of 21 routes")),
            ((30, 30), (5, 5), Some("25 of 30 routes and 25 of 30 services")),
            ((30, 30), (60, 60), None),
        ] {
            let (old, new) = (config(before.0, before.1), config(after.0, after.1));
            let changes = old.diff(&Catalog::new(Vec::new()), &new);
            let shrink = Shrink::of(&old, &changes).map(|shrink| shrink.to_string());
            assert_eq!(shrink.as_deref(), shown, "{before:?} to {after:?}");
        }
    }

    #[test]
    fn what_is_replaced_is_not_gone() {
        let old = config(20, 0);
        let new = (100..120).map(|n| entity(service::KIND, n));
        let new = Config::of(&Catalog::new(Vec::new()), new);
        assert_eq!(Shrink::of(&old, &old.diff(&Catalog::new(Vec::new()), &new)), None);
    }

    #[test]
    fn it_is_told_kind_by_kind() {
        let old = config(12, 12);
        let changes = old.diff(&Catalog::new(Vec::new()), &config(12, 2));
        let shrink = Shrink::of(&old, &changes).unwrap();
        assert_eq!(shrink.to_json(), json!({"routes": {"from": 12, "to": 2}}));
    }
}
