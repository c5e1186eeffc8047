//! Deciding: what a write would change, or why it is refused. Pure; the writer appends what
//! comes out (semantics: reference gateway-2, sections B.2 and B.3).

mod check;

pub use check::check;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::canonical::Document;
use super::catalog::Catalog;
use super::config::{Config, reference};
use super::entity::{Entity, Key, Kind};
use super::event::Change;
use super::kinds::{plugin, route, service};
use super::rejection::{FieldErrors, Rejection};
use super::schema::{Auto, Fields, OnDelete, Schema, Type, merge, normalise};

/// What a decision needs of the outside world.
pub struct Fresh<'a> {
    /// The time of the write.
    pub at: DateTime<Utc>,
    /// Draws a new id; also the source of generated secrets.
    pub id: &'a mut dyn FnMut() -> Uuid,
}

/// Which entity a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By id.
    Id(Uuid),
    /// By the value of the kind's endpoint key.
    Name(&'static str, String),
}

/// An accepted write: what changes, and the entity that is answered. `changes` is empty when the
/// entity is already as asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What changes.
    pub changes: Vec<Change>,
    /// The entity as it is afterwards.
    pub entity: Entity,
}

impl Target {
    /// Reads a path segment: a UUID is always an id, anything else the endpoint key.
    pub fn parse(schema: &Schema, segment: &str) -> Result<Self, Rejection> {
        match Uuid::try_parse(segment) {
            Ok(id) if segment.len() == 36 => Ok(Self::Id(id)),
            _ => schema
                .endpoint_key
                .map(|field| Self::Name(field, segment.to_owned()))
                .ok_or(Rejection::InvalidKey),
        }
    }

    /// Returns the entity, if there is one.
    pub fn find<'c>(&self, config: &'c Config, kind: Kind) -> Option<&'c Entity> {
        let id = match self {
            Self::Id(id) => *id,
            Self::Name(field, value) => config.by_unique(kind, field, &value.as_str().into())?,
        };
        config.find(Key { kind, id })
    }

    /// Returns the rejection that says that there is none.
    pub fn not_found(&self) -> Rejection {
        let mut key = Map::new();
        match self {
            Self::Id(id) => key.insert("id".into(), id.to_string().into()),
            Self::Name(field, value) => key.insert((*field).into(), value.as_str().into()),
        };
        Rejection::NotFound(key)
    }
}

/// Creates an entity.
pub fn post(
    catalog: &Catalog,
    config: &Config,
    kind: Kind,
    body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Decision, Rejection> {
    let entity = create(catalog, config, kind, body, fresh)?;
    if config.find(entity.key()).is_some() {
        return Err(Rejection::Exists(entity.id()));
    }
    accept(catalog, config, entity)
}

/// Creates or replaces the entity that `target` names; absent fields take their defaults.
pub fn put(
    catalog: &Catalog,
    config: &Config,
    kind: Kind,
    target: &Target,
    mut body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Decision, Rejection> {
    let id = target.find(config, kind).map(Entity::id);
    match target {
        Target::Id(id) => drop(body.insert("id".into(), id.to_string().into())),
        Target::Name(field, value) => {
            body.insert((*field).into(), value.as_str().into());
            if let Some(id) = id {
                body.insert("id".into(), id.to_string().into());
            }
        }
    }
    accept(catalog, config, create(catalog, config, kind, body, fresh)?)
}

/// Merges a patch into the entity that `target` names.
pub fn patch(
    catalog: &Catalog,
    config: &Config,
    kind: Kind,
    target: &Target,
    mut body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Decision, Rejection> {
    let old = target.find(config, kind).ok_or_else(|| target.not_found())?;
    let schema = catalog.schema(kind);
    body.remove("id");
    resolve(catalog, config, schema, &mut body)?;
    let mut document = old.document();
    catalog.expand_patch(kind, &document, &mut body)?;
    let fields = catalog.patch_fields(kind, &document, &body);
    merge(fields, &mut document, body);
    catalog.tidy(kind, &mut document)?;
    stamp(catalog.fields(kind, &document), &mut document, fresh, Stamp::Updated);
    finish(catalog, config, kind, document)
}

/// Deletes an entity, and with it those that cascade.
pub fn delete(catalog: &Catalog, config: &Config, key: Key) -> Result<Vec<Change>, Rejection> {
    let mut changes = Vec::new();
    if config.find(key).is_some() {
        collect_deletions(catalog, config, key, &mut changes)?;
    }
    Ok(changes)
}

fn collect_deletions(
    catalog: &Catalog,
    config: &Config,
    key: Key,
    changes: &mut Vec<Change>,
) -> Result<(), Rejection> {
    for referrer in catalog.referrers(key.kind) {
        for entity in config.referring(key, *referrer, None) {
            let gone = Change::Deleted(entity.key());
            match referrer.on_delete {
                OnDelete::Restrict if !changes.contains(&gone) => {
                    return Err(Rejection::Referenced { kind: key.kind, by: referrer.kind });
                }
                OnDelete::Cascade if !changes.contains(&gone) => {
                    collect_deletions(catalog, config, entity.key(), changes)?;
                }
                _ => {}
            }
        }
    }
    changes.push(Change::Deleted(key));
    Ok(())
}

/// Makes an entity of a body: references resolved, defaults and automatic fields filled, checked
/// against its schema, but not yet against the other entities.
fn create(
    catalog: &Catalog,
    config: &Config,
    kind: Kind,
    mut body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Entity, Rejection> {
    resolve(catalog, config, catalog.schema(kind), &mut body)?;
    make(catalog, kind, body, fresh)
}

/// Makes an entity of a body whose references are ids.
///
/// # Errors
///
/// What the schema refuses, field by field.
pub fn make(
    catalog: &Catalog,
    kind: Kind,
    mut body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Entity, Rejection> {
    catalog.complete(kind, &mut body)?;
    stamp(catalog.fields(kind, &body), &mut body, fresh, Stamp::Created);
    into_entity(catalog, kind, body)
}

/// Makes an entity of a declared body whose references are ids. Unlike with [`make`], a time that
/// is given stays, and with `transform` off the body is taken as rewritten already.
///
/// # Errors
///
/// What the schema refuses, field by field.
pub fn declare(
    catalog: &Catalog,
    kind: Kind,
    mut body: Document,
    transform: bool,
    fresh: &mut Fresh<'_>,
) -> Result<Entity, Rejection> {
    match transform {
        true => catalog.complete(kind, &mut body)?,
        false => catalog.fill(kind, &mut body)?,
    }
    stamp(catalog.fields(kind, &body), &mut body, fresh, Stamp::Declared);
    into_entity(catalog, kind, body)
}

fn into_entity(catalog: &Catalog, kind: Kind, mut body: Document) -> Result<Entity, Rejection> {
    catalog.validate(kind, &body)?;
    normalise(&mut body);
    lower_case_ids(catalog.schema(kind), &mut body);
    Entity::new(kind, &body).map_err(|_| FieldErrors::one("id", "expected a valid UUID").into())
}

fn finish(
    catalog: &Catalog,
    config: &Config,
    kind: Kind,
    document: Document,
) -> Result<Decision, Rejection> {
    accept(catalog, config, into_entity(catalog, kind, document)?)
}

/// Checks an entity against the others and says what changes.
fn accept(catalog: &Catalog, config: &Config, entity: Entity) -> Result<Decision, Rejection> {
    let document = entity.document();
    check_references(catalog, config, entity.kind(), &document)?;
    check_unique(catalog, config, &entity, &document)?;
    if entity.kind() == plugin::KIND {
        check_protocols(catalog, config, &document)?;
    }
    if let Some(old) = config.find(entity.key())
        && without_times(catalog.schema(entity.kind()), old.document())
            == without_times(catalog.schema(entity.kind()), document)
    {
        return Ok(Decision { changes: Vec::new(), entity: old.clone() });
    }
    Ok(Decision { changes: vec![Change::Upserted(entity.clone())], entity })
}

fn without_times(schema: &Schema, mut document: Document) -> Document {
    for (name, field) in schema.fields.iter() {
        if matches!(field.auto, Some(Auto::CreatedAt | Auto::UpdatedAt)) {
            document.remove(name);
        }
    }
    document
}

/// Replaces references by a unique field, such as `{"name": …}`, by references by id.
fn resolve(
    catalog: &Catalog,
    config: &Config,
    schema: &Schema,
    body: &mut Document,
) -> Result<(), Rejection> {
    for (field, kind, _) in schema.foreign_fields() {
        let Some(Value::Object(key)) = body.get(field) else { continue };
        if key.contains_key("id") {
            continue;
        }
        let unique =
            catalog.schema(kind).unique_fields().find_map(|name| Some((name, key.get(name)?)));
        let Some((name, value)) = unique else { continue };
        let Some(id) = config.by_unique(kind, name, value) else {
            let value = value.as_str().unwrap_or_default().to_owned();
            let by = (name.to_owned(), value);
            return Err(Rejection::Unresolved { field: field.to_owned(), kind, by });
        };
        body.insert(field.to_owned(), serde_json::json!({"id": id.to_string()}));
    }
    Ok(())
}

/// Which automatic times are set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stamp {
    Created,
    Updated,
    Declared,
}

/// Fills in automatic fields, those of records too: a plugin's `config` may hold a secret.
fn stamp(fields: &Fields, document: &mut Document, fresh: &mut Fresh<'_>, when: Stamp) {
    for (name, field) in fields.iter() {
        if let (Some(inner), Some(Value::Object(record))) = (field.fields(), document.get_mut(name))
        {
            stamp(inner, record, fresh, when);
            continue;
        }
        let absent = document.get(name).is_none_or(Value::is_null);
        let value = match field.auto {
            Some(Auto::Id) if absent => (fresh.id)().to_string().into(),
            Some(Auto::Secret) if absent && when != Stamp::Updated => secret(fresh).into(),
            Some(Auto::CreatedAt) if absent => seconds(fresh.at, field.milliseconds),
            Some(Auto::UpdatedAt) if absent || when != Stamp::Declared => {
                seconds(fresh.at, field.milliseconds)
            }
            _ => continue,
        };
        document.insert(name.to_owned(), value);
    }
}

fn seconds(at: DateTime<Utc>, milliseconds: bool) -> Value {
    match milliseconds {
        true => (at.timestamp_millis() as f64 / 1000.0).into(),
        false => at.timestamp().into(),
    }
}

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 32 letters and digits out of 244 random bits.
fn secret(fresh: &mut Fresh<'_>) -> String {
    let mut text = String::with_capacity(32);
    for _ in 0..2 {
        let mut number = (fresh.id)().as_u128();
        for _ in 0..16 {
            let index = usize::try_from(number % 62).unwrap_or_default();
            text.push(char::from(LETTERS.get(index).copied().unwrap_or(b'0')));
            number /= 62;
        }
    }
    text
}

/// Ids are kept in lower case, so that one id has one text.
fn lower_case_ids(schema: &Schema, document: &mut Document) {
    let lower = |value: &mut Value| {
        if let Value::String(text) = value {
            text.make_ascii_lowercase();
        }
    };
    document.get_mut("id").into_iter().for_each(lower);
    for (field, _, _) in schema.foreign_fields() {
        document.get_mut(field).and_then(|value| value.get_mut("id")).into_iter().for_each(lower);
    }
}

fn check_references(
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

fn check_unique(
    catalog: &Catalog,
    config: &Config,
    entity: &Entity,
    document: &Document,
) -> Result<(), Rejection> {
    let schema = catalog.schema(entity.kind());
    let others = |id: Option<Uuid>| id.is_some_and(|id| id != entity.id());
    for field in schema.unique_fields() {
        let Some(value) = document.get(field) else { continue };
        if others(config.by_unique(entity.kind(), field, value)) {
            return Err(Rejection::NotUnique(Map::from_iter([(field.to_owned(), value.clone())])));
        }
    }
    if others(config.by_cache_key(schema, document)) {
        let key = schema.cache_key.iter().map(|name| {
            let value = document.get(*name).cloned().unwrap_or(Value::Null);
            ((*name).to_owned(), value)
        });
        return Err(Rejection::NotUnique(key.collect()));
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

/// Checks that a whole set of entities is a valid config: schemas, unique values, references.
/// Returns it, or everything that is wrong, entity by entity.
pub fn assemble(
    catalog: &Catalog,
    entities: impl IntoIterator<Item = Entity>,
) -> Result<Config, Vec<(Key, Rejection)>> {
    let mut config = Config::default();
    let mut wrong = Vec::new();
    let entities: Vec<_> = entities.into_iter().collect();
    for entity in &entities {
        let document = entity.document();
        if config.find(entity.key()).is_some() {
            wrong.push((entity.key(), Rejection::Exists(entity.id())));
        } else if let Err(rejection) = catalog
            .validate_received(entity.kind(), &document)
            .map_err(Rejection::from)
            .and_then(|()| check_unique(catalog, &config, entity, &document))
        {
            wrong.push((entity.key(), rejection));
        }
        config.apply(catalog, &Change::Upserted(entity.clone()));
    }
    for entity in &entities {
        let document = entity.document();
        if let Err(rejection) = check_references(catalog, &config, entity.kind(), &document) {
            wrong.push((entity.key(), rejection));
        }
    }
    if wrong.is_empty() { Ok(config) } else { Err(wrong) }
}

/// Checks the entities that changes bring and the references that they leave, against the config
/// that they lead to. For a data plane that applies a delta.
pub fn check_changes(
    catalog: &Catalog,
    after: &Config,
    changes: &[Change],
) -> Result<(), (Key, Rejection)> {
    for change in changes {
        let key = change.key();
        match change {
            Change::Upserted(entity) => {
                let document = entity.document();
                catalog
                    .validate_received(key.kind, &document)
                    .map_err(Rejection::from)
                    .and_then(|()| check_unique(catalog, after, entity, &document))
                    .and_then(|()| check_references(catalog, after, key.kind, &document))
                    .map_err(|rejection| (key, rejection))?;
            }
            Change::Deleted(key) => {
                for referrer in catalog.referrers(key.kind) {
                    if after.referring(*key, *referrer, None).next().is_some() {
                        let by = referrer.kind;
                        return Err((*key, Rejection::Referenced { kind: key.kind, by }));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Returns whether a field of a kind is a reference.
pub fn is_foreign(schema: &Schema, field: &str) -> bool {
    matches!(schema.fields.find(field).map(|field| &field.ty), Some(Type::Foreign { .. }))
}

#[cfg(test)]
mod tests;
