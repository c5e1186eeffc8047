//! Operations: one write in Kong's terms, a verb at a place with a body, as a pure decision over a
//! config (reference gateway-2, section B.2). A request is one operation, a batch threads many.

use http::{Method, StatusCode};

use super::body::Body;
use super::error::ApiError;
use super::locate;
use super::place::{self, Named, Place};
use super::store::Decided;
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::{self, Fresh, Target};
use crate::domain::entity::{Entity, Key, Kind};
use crate::domain::schema;

/// What is done at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Post,
    Put,
    Patch,
    Delete,
}

/// One write, read but not yet decided.
pub(super) struct Operation {
    verb: Verb,
    place: Place,
    kind: Kind,
    body: Body,
}

impl Operation {
    /// Makes an operation; a place that does not know the method has none.
    pub(super) fn new(method: &Method, place: Place, body: Body) -> Result<Self, ApiError> {
        let kind = place.kind().ok_or(ApiError::NotFound)?;
        if !place.methods().split(", ").any(|known| known == method.as_str()) {
            return Err(ApiError::MethodNotAllowed);
        }
        let verb = match *method {
            Method::POST => Verb::Post,
            Method::PUT => Verb::Put,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => return Err(ApiError::MethodNotAllowed),
        };
        Ok(Self { verb, place, kind, body })
    }

    /// Returns the status of the answer when the operation is accepted.
    pub(super) fn status(&self) -> StatusCode {
        match self.verb {
            Verb::Post => StatusCode::CREATED,
            Verb::Put | Verb::Patch => StatusCode::OK,
            Verb::Delete => StatusCode::NO_CONTENT,
        }
    }

    /// Returns whether what the operation names is there already; a collection always is.
    pub(super) fn is_present(&self, catalog: &Catalog, config: &Config) -> bool {
        self.verb == Verb::Post || locate::place(catalog, config, &self.place).is_ok()
    }

    /// Decides what the operation changes in a config, or why it is refused.
    pub(super) fn decide(
        &self,
        catalog: &Catalog,
        config: &Config,
        fresh: &mut Fresh<'_>,
    ) -> Result<Decided, ApiError> {
        match self.verb {
            Verb::Post => self.post(catalog, config, fresh),
            Verb::Put => self.put(catalog, config, fresh),
            Verb::Patch => self.patch(catalog, config, fresh),
            Verb::Delete => self.delete(catalog, config),
        }
    }

    /// Returns what is to be said of the deprecated fields that the operation set in an entity.
    pub(super) fn deprecated(&self, catalog: &Catalog, entity: Option<&Entity>) -> Vec<String> {
        let Some(entity) = entity else { return Vec::new() };
        let stored = entity.document();
        let plugin = stored.get("name").and_then(|name| name.as_str());
        let body = self.body.document(catalog, self.kind, plugin);
        schema::deprecated(catalog.patch_fields(self.kind, &stored, &body), &body)
    }

    fn post(
        &self,
        catalog: &Catalog,
        config: &Config,
        fresh: &mut Fresh<'_>,
    ) -> Result<Decided, ApiError> {
        let mut body = self.body.document(catalog, self.kind, None);
        if let Place::Nested { parent, field, .. } = &self.place {
            adopt(catalog, config, parent, field, &mut body)?;
        }
        Ok(decide::post(catalog, config, self.kind, body, fresh)?.into())
    }

    fn put(
        &self,
        catalog: &Catalog,
        config: &Config,
        fresh: &mut Fresh<'_>,
    ) -> Result<Decided, ApiError> {
        let kind = self.kind;
        let mut body = self.body.document(catalog, kind, None);
        let target = match &self.place {
            Place::Entity(named) => locate::target(catalog, named)?,
            Place::NestedEntity { .. } if !place::put_creates(kind) => {
                let target = Target::Id(locate::place(catalog, config, &self.place)?.id());
                return Ok(decide::patch(catalog, config, kind, &target, body, fresh)?.into());
            }
            Place::NestedEntity { parent, child, field } => {
                let parent = adopt(catalog, config, parent, field, &mut body)?;
                locate::target_below(catalog, config, parent, child, field, &mut body)?
            }
            Place::Foreign { child, field, .. } => {
                let child = locate::entity(catalog, config, child)?;
                match locate::referred(config, child, field, kind) {
                    Some(referred) => Target::Id(referred.id()),
                    None => return link(catalog, config, child, field, kind, body, fresh),
                }
            }
            _ => return Err(ApiError::MethodNotAllowed),
        };
        Ok(decide::put(catalog, config, kind, &target, body, fresh)?.into())
    }

    fn patch(
        &self,
        catalog: &Catalog,
        config: &Config,
        fresh: &mut Fresh<'_>,
    ) -> Result<Decided, ApiError> {
        let kind = self.kind;
        let found = locate::place(catalog, config, &self.place);
        let found_by_form = found.as_ref().ok().filter(|_| self.body.is_form());
        let stored = found_by_form.map(|entity| entity.document());
        let plugin = stored.as_ref().and_then(|stored| stored.get("name")?.as_str());
        let body = self.body.document(catalog, kind, plugin);
        let target = match &self.place {
            Place::Entity(named) if !place::patch_misses_plainly(kind) => {
                match locate::target(catalog, named)? {
                    Target::Through(..) => Target::Id(found?.id()),
                    target => target,
                }
            }
            _ => Target::Id(found?.id()),
        };
        Ok(decide::patch(catalog, config, kind, &target, body, fresh)?.into())
    }

    fn delete(&self, catalog: &Catalog, config: &Config) -> Result<Decided, ApiError> {
        let found = locate::place(catalog, config, &self.place);
        let key = match (&self.place, found) {
            (Place::Foreign { .. }, Ok(_)) => return Err(ApiError::MethodNotAllowed),
            // What is not there at top level counts as deleted.
            (Place::Entity(_), Err(ApiError::NotFound)) => return Ok(Decided::default()),
            (_, found) => found?.key(),
        };
        Ok(Decided { changes: decide::delete(catalog, config, key)?, entity: None })
    }
}

/// Says what an accepted write told of deprecated fields.
pub(super) fn say(deprecated: &[String]) {
    for text in deprecated {
        tracing::warn!("{text}");
    }
}

/// Creates what a foreign field refers to, and makes it refer there: one event.
fn link(
    catalog: &Catalog,
    config: &Config,
    child: &Entity,
    field: &str,
    kind: Kind,
    body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<Decided, ApiError> {
    let target = Target::Id((fresh.id)());
    let mut created = decide::put(catalog, config, kind, &target, body, fresh)?;
    let mut with_it = config.clone();
    for change in &created.changes {
        with_it.apply(catalog, change);
    }
    let reference = locate::reference_to(created.entity.key());
    let patch = Document::from_iter([(field.to_owned(), reference)]);
    let target = Target::Id(child.id());
    let linked = decide::patch(catalog, &with_it, child.kind(), &target, patch, fresh)?;
    created.changes.extend(linked.changes);
    Ok(created.into())
}

/// Puts the reference to the parent into a body, over what the body says; returns the parent.
fn adopt(
    catalog: &Catalog,
    config: &Config,
    parent: &Named,
    field: &str,
    body: &mut Document,
) -> Result<Key, ApiError> {
    let parent = locate::entity(catalog, config, parent)?.key();
    body.insert(field.to_owned(), locate::reference_to(parent));
    Ok(parent)
}
