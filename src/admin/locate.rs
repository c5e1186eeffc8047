//! Finding the entities that a place names in one config. Pure, so that reads use it on the head
//! and writes inside their decision.

use serde_json::Value;
use uuid::Uuid;

use super::error::ApiError;
use super::place::{Named, Place};
use crate::domain::canonical::Document;
use crate::domain::catalog::{Catalog, Referrer};
use crate::domain::config::{Config, reference};
use crate::domain::decide::Target;
use crate::domain::entity::{Entity, Key, Kind};
use crate::domain::schema::{OnDelete, UnknownNull, check_value};

/// Returns what a segment names: an id, or the value of the kind's endpoint key. Kong refuses a
/// text that no entity could have as its key.
pub(super) fn target(catalog: &Catalog, named: &Named) -> Result<Target, ApiError> {
    let target = Target::parse(catalog.schema(named.kind), &named.text)?;
    let (kind, name) = match &target {
        Target::Id(_) => return Ok(target),
        Target::Name(name, _) => (named.kind, *name),
        Target::Through(by, _) => (by.kind, by.field),
    };
    let field = catalog.schema(kind).fields.find(name).filter(|field| field.unique);
    let text = Value::from(named.text.as_str());
    match field.and_then(|field| check_value(field, &text, UnknownNull::Refuse)) {
        Some(Value::String(message)) => Err(ApiError::InvalidName { field: name, message }),
        _ => Ok(target),
    }
}

/// Returns what a segment under a parent names, for a PUT of `body` there. A name that is unique
/// under its parent only names the child that has it, or the one that is made and gets it.
pub(super) fn target_below(
    catalog: &Catalog,
    config: &Config,
    parent: Key,
    named: &Named,
    field: &'static str,
    body: &mut Document,
) -> Result<Target, ApiError> {
    let target = parse_below(catalog, named)?;
    let key = catalog.schema(named.kind).nested_key;
    match (&target, key) {
        (Target::Name(name, text), Some(key)) if *name == key => {
            body.insert(key.to_owned(), text.as_str().into());
            let found = child(catalog, config, parent, named, field).ok();
            Ok(found.map_or(target, |entity| Target::Id(entity.id())))
        }
        _ => Ok(target),
    }
}

fn parse_below(catalog: &Catalog, named: &Named) -> Result<Target, ApiError> {
    let schema = catalog.schema(named.kind);
    match schema.nested_key {
        None => target(catalog, named),
        Some(key) => match Target::parse(schema, &named.text) {
            Ok(Target::Id(id)) => Ok(Target::Id(id)),
            _ => Ok(Target::Name(key, named.text.clone())),
        },
    }
}

/// Returns the one entity that a place names.
pub(super) fn place<'c>(
    catalog: &Catalog,
    config: &'c Config,
    place: &Place,
) -> Result<&'c Entity, ApiError> {
    match place {
        Place::Entity(named) => entity(catalog, config, named),
        Place::NestedEntity { parent, child: named, field } => {
            let parent = entity(catalog, config, parent)?;
            child(catalog, config, parent.key(), named, field)
        }
        Place::Foreign { child: named, field, kind } => {
            let child = entity(catalog, config, named)?;
            referred(config, child, field, *kind).ok_or(ApiError::NotFound)
        }
        _ => Err(ApiError::NotFound),
    }
}

/// Returns the entity that a segment names.
pub(super) fn entity<'c>(
    catalog: &Catalog,
    config: &'c Config,
    named: &Named,
) -> Result<&'c Entity, ApiError> {
    let target = target(catalog, named)?;
    target.find(config, named.kind).ok_or_else(|| match target {
        Target::Through(by, _) => ApiError::Missing(by.absent.to_owned()),
        Target::Id(_) | Target::Name(..) => ApiError::NotFound,
    })
}

/// Returns the entity that a segment names, if its `field` refers to the parent.
pub(super) fn child<'c>(
    catalog: &Catalog,
    config: &'c Config,
    parent: Key,
    named: &Named,
    field: &'static str,
) -> Result<&'c Entity, ApiError> {
    let target = parse_below(catalog, named)?;
    let schema = catalog.schema(named.kind);
    if let Target::Name(key, name) = &target
        && !schema.unique_fields().any(|unique| unique == *key)
    {
        // A name that is unique under its parent only, such as a target's address.
        let name = settled(catalog, named.kind, key, name);
        let mut children = referring(config, parent, named.kind, field, None);
        let found = children.find(|entity| entity.document().get(*key) == Some(&name));
        return found.ok_or(ApiError::NotFound);
    }
    let found = target.find(config, named.kind).ok_or(ApiError::NotFound)?;
    let owner = found.document().get(field).and_then(reference);
    if owner == Some(parent.id) { Ok(found) } else { Err(ApiError::NotFound) }
}

/// Returns the entity that a foreign field of an entity refers to; none when it is null.
pub(super) fn referred<'c>(
    config: &'c Config,
    child: &Entity,
    field: &str,
    kind: Kind,
) -> Option<&'c Entity> {
    let id = child.document().get(field).and_then(reference)?;
    config.find(Key { kind, id })
}

/// Returns the entities of a kind whose field refers to the parent, in id order.
pub(super) fn referring<'c>(
    config: &'c Config,
    parent: Key,
    kind: Kind,
    field: &'static str,
    after: Option<Uuid>,
) -> impl Iterator<Item = &'c Entity> {
    // The index is by kind and field; what a deletion does is not part of it.
    config.referring(parent, Referrer { kind, field, on_delete: OnDelete::Restrict }, after)
}

/// Returns a name as documents keep it: a target's address with its port.
fn settled(catalog: &Catalog, kind: Kind, field: &str, name: &str) -> Value {
    let mut document = Document::from_iter([(field.to_owned(), Value::from(name))]);
    if let Some(rewrite) = catalog.schema(kind).rewrite
        && rewrite(&mut document).is_err()
    {
        return name.into();
    }
    document.remove(field).unwrap_or(Value::Null)
}

/// Returns a reference to an entity, as documents carry it.
pub(super) fn reference_to(key: Key) -> Value {
    serde_json::json!({"id": key.id.to_string()})
}
