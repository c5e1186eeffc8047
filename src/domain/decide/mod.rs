//! Deciding: what a write would change, or why it is refused. Pure; the writer appends what
//! comes out (semantics: reference gateway-2, sections B.2 and B.3).

mod against;
mod check;
mod names;
mod resolve;
mod stamp;
mod whole;

use std::collections::BTreeSet;

use serde_json::Map;
use uuid::Uuid;

use self::names::Names;
use self::resolve::resolve;
use self::stamp::{Stamp, Times, lower_case_ids, stamp};
use super::canonical::Document;
use super::catalog::Catalog;
use super::config::{Config, reference};
use super::entity::{Entity, Key, Kind};
use super::event::Change;
use super::lifetime;
use super::rejection::{FieldErrors, Rejection};
use super::schema::{Mark, NamedBy, Schema, Transform, merge, normalise};

pub use super::fresh::Fresh;
pub use check::check;
pub use names::names_of;
pub use whole::{assemble, check_changes};

/// Which entity a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By id.
    Id(Uuid),
    /// By the value of the kind's endpoint key.
    Name(&'static str, String),
    /// By a name that an entity of another kind has.
    Through(NamedBy, String),
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
            _ => match (schema.endpoint_key, schema.named_by) {
                (Some(field), _) => Ok(Self::Name(field, segment.to_owned())),
                (None, Some(by)) => Ok(Self::Through(by, segment.to_owned())),
                (None, None) => Err(Rejection::InvalidKey),
            },
        }
    }

    /// Returns the entity, if there is one.
    pub fn find<'c>(&self, config: &'c Config, kind: Kind) -> Option<&'c Entity> {
        let id = match self {
            Self::Id(id) => *id,
            Self::Name(field, value) => config.by_unique(kind, field, &value.as_str().into())?,
            Self::Through(by, name) => {
                let id = config.by_unique(by.kind, by.field, &name.as_str().into())?;
                let holder = config.find(Key { kind: by.kind, id })?;
                holder.document().get(by.through).and_then(reference)?
            }
        };
        config.find(Key { kind, id })
    }

    /// Returns the rejection that says that there is none.
    pub fn not_found(&self) -> Rejection {
        let mut key = Map::new();
        match self {
            Self::Id(id) => key.insert("id".into(), id.to_string().into()),
            Self::Name(field, value) => key.insert((*field).into(), value.as_str().into()),
            Self::Through(by, name) => key.insert(by.field.into(), name.as_str().into()),
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
    let made = create(catalog, config, kind, body, fresh)?;
    if config.find(made.entity.key()).is_some() {
        return Err(Rejection::Exists(made.entity.id()));
    }
    made.accept(catalog, config, Names::Listed, fresh)
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
        Target::Name(field, value) => drop(body.insert((*field).into(), value.as_str().into())),
        Target::Through(by, name) => names::add(&mut body, *by, name),
    }
    if let Some(id) = id {
        body.insert("id".into(), id.to_string().into());
    }
    let made = create(catalog, config, kind, body, fresh)?;
    if id.is_none() && !matches!(target, Target::Id(_)) && config.find(made.entity.key()).is_some()
    {
        return Err(Rejection::Exists(made.entity.id()));
    }
    made.accept(catalog, config, Names::Exactly, fresh)
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
    let ttl = lifetime::take(schema, &mut body)?;
    body.remove("id");
    let times = Times::of(&body);
    resolve(catalog, config, schema, &mut body)?;
    let transforms = schema.transforms.iter().filter(|transform| transform.reads(&body));
    let transforms: Vec<_> = transforms.copied().collect();
    let mut document = old.document();
    catalog.expand_patch(kind, &document, &mut body)?;
    let fields = catalog.patch_fields(kind, &document, &body);
    merge(fields, &mut document, body);
    catalog.tidy(kind, &mut document)?;
    stamp(catalog.fields(kind, &document), &mut document, fresh, Stamp::Updated);
    lifetime::put(&mut document, ttl, fresh.at);
    let made = Made::new(catalog, kind, document, &transforms, fresh);
    let mut made = made.map_err(|rejection| match rejection {
        Rejection::Schema(errors) => errors.when_updating().into(),
        other => other,
    })?;
    made.times = times;
    made.accept(catalog, config, Names::Given, fresh)
}

/// Deletes an entity, and with it those that cascade.
pub fn delete(catalog: &Catalog, config: &Config, key: Key) -> Result<Vec<Change>, Rejection> {
    let mut changes = Vec::new();
    if config.find(key).is_some() {
        against::collect_deletions(catalog, config, key, &mut BTreeSet::new(), &mut changes)?;
    }
    Ok(changes)
}

/// Makes an entity of a body: references resolved, defaults and automatic fields filled, checked
/// against its schema, but not yet against the other entities.
fn create(
    catalog: &Catalog,
    config: &Config,
    kind: Kind,
    mut body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Made, Rejection> {
    resolve(catalog, config, catalog.schema(kind), &mut body)?;
    build(catalog, kind, body, fresh)
}

/// Makes an entity of a body whose references are ids.
fn build(
    catalog: &Catalog,
    kind: Kind,
    body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Made, Rejection> {
    let times = Times::of(&body);
    let (document, transforms) = complete(catalog, kind, body, fresh)?;
    Ok(Made { times, ..Made::new(catalog, kind, document, &transforms, fresh)? })
}

/// Fills what a body leaves open; returns it with the transforms that it asks for.
fn complete(
    catalog: &Catalog,
    kind: Kind,
    mut body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<(Document, Vec<Transform>), Rejection> {
    let schema = catalog.schema(kind);
    let ttl = lifetime::take(schema, &mut body)?;
    catalog.complete(kind, &mut body)?;
    stamp(catalog.fields(kind, &body), &mut body, fresh, Stamp::Created);
    lifetime::put(&mut body, ttl, fresh.at);
    let transforms = schema.transforms.iter().filter(|t| t.reads(&body)).copied().collect();
    Ok((body, transforms))
}

/// Checks a document and makes it what is kept; returns what others keep of it.
fn settle(
    catalog: &Catalog,
    kind: Kind,
    document: &mut Document,
    transforms: &[Transform],
    fresh: &mut Fresh<'_>,
) -> Result<Document, Rejection> {
    catalog.validate(kind, document)?;
    keep(catalog.schema(kind), document, transforms, fresh)
}

/// Makes a valid document what is kept; returns what others keep of it.
fn keep(
    schema: &Schema,
    document: &mut Document,
    transforms: &[Transform],
    fresh: &mut Fresh<'_>,
) -> Result<Document, Rejection> {
    let transient = schema.fields.iter().filter(|(_, field)| field.is(Mark::Transient));
    let beside = transient.filter_map(|(name, _)| document.remove_entry(name)).collect();
    for transform in transforms {
        (transform.run)(document, fresh)?;
    }
    normalise(document);
    lower_case_ids(schema, document);
    Ok(beside)
}

/// Makes an entity of a body whose references are ids.
///
/// # Errors
///
/// What the schema refuses, field by field.
pub fn make(
    catalog: &Catalog,
    kind: Kind,
    body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Entity, Rejection> {
    Ok(build(catalog, kind, body, fresh)?.entity)
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
    let schema = catalog.schema(kind);
    stamp(catalog.fields(kind, &body), &mut body, fresh, Stamp::Declared);
    let transforms = schema.transforms.iter().filter(|t| t.reads(&body) && (transform || !t.once));
    let transforms: Vec<_> = transforms.copied().collect();
    Ok(Made::new(catalog, kind, body, &transforms, fresh)?.entity)
}

/// Makes an entity of a body that a control plane of Kong sent: transformed already, references
/// as ids. A field that is unknown here and null is ignored, and a plugin that nothing here can run
/// is valid, as [`Catalog::validate_received`] has it.
///
/// # Errors
///
/// What the schema refuses, field by field.
pub fn receive(
    catalog: &Catalog,
    kind: Kind,
    mut body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Entity, Rejection> {
    catalog.receive(kind, &mut body)?;
    let schema = catalog.schema(kind);
    stamp(catalog.fields(kind, &body), &mut body, fresh, Stamp::Declared);
    if schema.ttl {
        lifetime::take_end(&mut body, fresh.at);
    }
    catalog.validate_received(kind, &body)?;
    let transforms = schema.transforms.iter().filter(|t| t.reads(&body) && !t.once);
    let transforms: Vec<_> = transforms.copied().collect();
    keep(schema, &mut body, &transforms, fresh)?;
    Entity::new(kind, &body).map_err(|_| FieldErrors::one("id", "expected a valid UUID").into())
}

/// An entity that keeps its schema, and what was said beside it for other entities to hold.
struct Made {
    entity: Entity,
    beside: Document,
    times: Times,
}

impl Made {
    fn new(
        catalog: &Catalog,
        kind: Kind,
        mut document: Document,
        transforms: &[Transform],
        fresh: &mut Fresh<'_>,
    ) -> Result<Self, Rejection> {
        let beside = settle(catalog, kind, &mut document, transforms, fresh)?;
        let entity = Entity::new(kind, &document)
            .map_err(|_| FieldErrors::one("id", "expected a valid UUID"))?;
        Ok(Self { entity, beside, times: Times::Ours })
    }

    /// Checks the entity against the others and says what changes.
    fn accept(
        self,
        catalog: &Catalog,
        config: &Config,
        names: Names,
        fresh: &mut Fresh<'_>,
    ) -> Result<Decision, Rejection> {
        let decision = against::accept(catalog, config, self.entity, self.times, fresh.at)?;
        match catalog.schema(decision.entity.kind()).named_by {
            Some(by) => names::settle(catalog, config, by, decision, &self.beside, names, fresh),
            None => Ok(decision),
        }
    }
}

#[cfg(test)]
mod tests;
