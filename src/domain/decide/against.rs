//! Checking one entity against the others: references, unique values, what depends on it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Decision;
use super::stamp::Times;
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::{Config, reference};
use crate::domain::entity::{Entity, Key, Kind};
use crate::domain::event::Change;
use crate::domain::kinds::{ca_certificate, plugin, route, service};
use crate::domain::lifetime;
use crate::domain::rejection::{FieldErrors, Rejection};
use crate::domain::schema::{OnDelete, Schema};

/// Checks an entity against the others and says what changes.
pub(super) fn accept(
    catalog: &Catalog,
    config: &Config,
    entity: Entity,
    times: Times,
    at: DateTime<Utc>,
) -> Result<Decision, Rejection> {
    let document = entity.document();
    check_references(catalog, config, entity.kind(), &document)?;
    let expired = give_way(catalog, config, &entity, &document, at)?;
    if entity.kind() == plugin::KIND {
        check_protocols(catalog, config, &document)?;
    }
    if let Some(old) = config.find(entity.key())
        && times.strip(catalog.schema(entity.kind()), old.document())
            == times.strip(catalog.schema(entity.kind()), document)
    {
        return Ok(Decision { changes: Vec::new(), entity: old.clone() });
    }
    let mut changes = Vec::new();
    for key in expired {
        collect_deletions(catalog, config, key, &mut BTreeSet::new(), &mut changes)?;
    }
    changes.push(Change::Upserted(entity.clone()));
    Ok(Decision { changes, entity })
}

/// Checks that unique values are free; those whose time is over give way and are returned.
fn give_way(
    catalog: &Catalog,
    config: &Config,
    entity: &Entity,
    document: &Document,
    at: DateTime<Utc>,
) -> Result<BTreeSet<Key>, Rejection> {
    let schema = catalog.schema(entity.kind());
    let mut expired = BTreeSet::new();
    for (id, values) in holders(config, schema, document) {
        let key = Key { kind: entity.kind(), id };
        if id == entity.id() {
            continue;
        }
        match config.find(key) {
            Some(holder) if lifetime::is_over(schema, holder, at) => drop(expired.insert(key)),
            _ => return Err(Rejection::NotUnique(values)),
        }
    }
    Ok(expired)
}

pub(super) fn check_unique(
    catalog: &Catalog,
    config: &Config,
    entity: &Entity,
    document: &Document,
) -> Result<(), Rejection> {
    let schema = catalog.schema(entity.kind());
    let other = holders(config, schema, document).into_iter().find(|(id, _)| *id != entity.id());
    other.map_or(Ok(()), |(_, values)| Err(Rejection::NotUnique(values)))
}

/// Returns who has a unique value of the document, and which.
fn holders(
    config: &Config,
    schema: &Schema,
    document: &Document,
) -> Vec<(Uuid, Map<String, Value>)> {
    let mut holders = Vec::new();
    for field in schema.unique_fields() {
        let Some(value) = document.get(field) else { continue };
        if let Some(id) = config.by_unique(schema.kind, field, value) {
            holders.push((id, Map::from_iter([(field.to_owned(), value.clone())])));
        }
    }
    if let Some(id) = config.by_cache_key(schema, document) {
        let key = schema.cache_key.iter().map(|name| {
            let value = document.get(*name).cloned().unwrap_or(Value::Null);
            ((*name).to_owned(), value)
        });
        holders.push((id, key.collect()));
    }
    holders
}

pub(super) fn check_references(
    catalog: &Catalog,
    config: &Config,
    kind: Kind,
    document: &Document,
) -> Result<(), Rejection> {
    for (field, target, _) in catalog.schema(kind).foreign_fields() {
        let Some(id) = document.get(field).and_then(reference) else { continue };
        if config.find(Key { kind: target, id }).is_none() {
            return Err(Rejection::DanglingReference { field: field.to_owned(), kind: target, id });
        }
    }
    Ok(())
}

/// Collects the deletion of an entity and of those that go with it, those that refer first.
pub(super) fn collect_deletions(
    catalog: &Catalog,
    config: &Config,
    key: Key,
    gone: &mut BTreeSet<Key>,
    changes: &mut Vec<Change>,
) -> Result<(), Rejection> {
    if !gone.insert(key) {
        return Ok(());
    }
    if key.kind == ca_certificate::KIND {
        check_unlisted(config, key.id)?;
    }
    for referrer in catalog.referrers(key.kind) {
        for entity in config.referring(key, *referrer, None) {
            match referrer.on_delete {
                OnDelete::Restrict if !gone.contains(&entity.key()) => {
                    return Err(Rejection::Referenced { kind: key.kind, by: referrer.kind });
                }
                OnDelete::Restrict => {}
                OnDelete::Cascade | OnDelete::Owned => {
                    collect_deletions(catalog, config, entity.key(), gone, changes)?;
                }
            }
        }
    }
    changes.push(Change::Deleted(key));
    Ok(())
}

/// A CA certificate stays while a service or a plugin lists it; these are ids in a list, not
/// references.
fn check_unlisted(config: &Config, id: Uuid) -> Result<(), Rejection> {
    let text = Value::from(id.to_string());
    let lists = |value: Option<&Value>| {
        value.and_then(Value::as_array).is_some_and(|ids| ids.contains(&text))
    };
    for kind in [service::KIND, plugin::KIND] {
        let listed = config.of_kind(kind, None).find(|entity| {
            let document = entity.document();
            let list = match kind == plugin::KIND {
                true => document.get("config").and_then(|config| config.get("ca_certificates")),
                false => document.get("ca_certificates"),
            };
            lists(list)
        });
        if let Some(by) = listed {
            return Err(Rejection::Listed { id, by: by.key() });
        }
    }
    Ok(())
}

/// A plugin needs a protocol in common with its route, or with a route of its service.
fn check_protocols(
    catalog: &Catalog,
    config: &Config,
    document: &Document,
) -> Result<(), Rejection> {
    let mine = protocols(document);
    let meets = |route: &Entity| {
        protocols(&route.document()).iter().any(|protocol| mine.contains(protocol))
    };
    if let Some(id) = document.get("route").and_then(reference)
        && let Some(route) = config.find(Key { kind: route::KIND, id })
        && !meets(route)
    {
        let text = "must match the associated route's protocols";
        return Err(FieldErrors::one("protocols", text).into());
    }
    if let Some(id) = document.get("service").and_then(reference) {
        let key = Key { kind: service::KIND, id };
        let routes = catalog.referrers(service::KIND).iter().filter(|r| r.kind == route::KIND);
        let mut routes = routes.flat_map(|r| config.referring(key, *r, None)).peekable();
        if routes.peek().is_some() && !routes.any(meets) {
            let text =
                "must match the protocols of at least one route pointing to this Plugin's service";
            return Err(FieldErrors::one("protocols", text).into());
        }
    }
    Ok(())
}

fn protocols(document: &Document) -> Vec<String> {
    let list = document.get("protocols").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|p| p.as_str().map(str::to_owned)).collect()
}
