//! Names that entities of another kind hold, written together with what they name: the `snis` of
//! a certificate (reference gateway-1, section A.6).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::against::accept;
use super::{Decision, create};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::{Config, reference};
use crate::domain::entity::{Entity, Key};
use crate::domain::event::Change;
use crate::domain::fresh::Fresh;
use crate::domain::rejection::{FieldErrors, Rejection};
use crate::domain::schema::NamedBy;

/// What a write says about names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Those listed are added.
    Listed,
    /// Those listed, and no others.
    Exactly,
    /// As listed, or as they are when there is no list.
    Given,
}

/// Adds a name to those that a body lists.
pub(super) fn add(body: &mut Document, by: NamedBy, name: &str) {
    let listed = body.entry(by.list).or_insert_with(|| Value::Array(Vec::new()));
    if listed.is_null() {
        *listed = Value::Array(Vec::new());
    }
    if let Value::Array(listed) = listed
        && !listed.iter().any(|other| other == name)
    {
        listed.push(name.into());
    }
}

/// Returns the names of an entity, sorted.
pub fn names_of(catalog: &Catalog, config: &Config, by: NamedBy, key: Key) -> Vec<String> {
    let mut names: Vec<_> = holders(catalog, config, by, key)
        .filter_map(|entity| Some(entity.document().get(by.field)?.as_str()?.to_owned()))
        .collect();
    names.sort_unstable();
    names
}

/// Adds to a decision what becomes of the names.
pub(super) fn settle(
    catalog: &Catalog,
    config: &Config,
    by: NamedBy,
    mut decision: Decision,
    beside: &Document,
    names: Names,
    fresh: &mut Fresh<'_>,
) -> Result<Decision, Rejection> {
    let listed = beside.get(by.list).and_then(Value::as_array);
    if listed.is_none() && names != Names::Exactly {
        return Ok(decision);
    }
    let key = decision.entity.key();
    let wanted: Vec<&str> = listed.into_iter().flatten().filter_map(Value::as_str).collect();
    check(config, by, key, &wanted)?;
    let mut after = config.clone();
    for change in &decision.changes {
        after.apply(catalog, change);
    }
    for holder in holders(catalog, config, by, key) {
        let document = holder.document();
        let name = document.get(by.field).and_then(Value::as_str).unwrap_or_default();
        if names != Names::Listed && !wanted.contains(&name) {
            decision.changes.push(Change::Deleted(holder.key()));
        }
    }
    for name in wanted {
        if config.by_unique(by.kind, by.field, &name.into()).is_some() {
            continue;
        }
        let mut body = Map::new();
        body.insert(by.field.into(), name.into());
        body.insert(by.through.into(), serde_json::json!({"id": key.id.to_string()}));
        let made = create(catalog, &after, by.kind, body, fresh)?;
        decision
            .changes
            .extend(accept(catalog, &after, made.entity, made.times, fresh.at)?.changes);
    }
    Ok(decision)
}

/// Checks that names are listed once and belong to nobody else.
fn check(config: &Config, by: NamedBy, key: Key, wanted: &[&str]) -> Result<(), Rejection> {
    let mut seen = BTreeSet::new();
    let refuse = |text: String| Err(FieldErrors::one(by.list, text).into());
    for name in wanted {
        if !seen.insert(name) {
            return refuse(format!("{name} is duplicated"));
        }
    }
    for name in wanted {
        let holder = config.by_unique(by.kind, by.field, &(*name).into());
        let holder = holder.and_then(|id| config.find(Key { kind: by.kind, id }));
        let other = holder.and_then(|holder| reference(holder.document().get(by.through)?));
        if let Some(other) = other.filter(|id| *id != key.id) {
            return refuse(format!(
                "{name} already associated with existing certificate '{other}'"
            ));
        }
    }
    Ok(())
}

fn holders<'c>(
    catalog: &Catalog,
    config: &'c Config,
    by: NamedBy,
    key: Key,
) -> impl Iterator<Item = &'c Entity> {
    let referrers = catalog.referrers(key.kind).iter();
    let referrer = referrers.copied().find(|r| r.kind == by.kind && r.field == by.through);
    referrer.into_iter().flat_map(move |referrer| config.referring(key, referrer, None))
}
