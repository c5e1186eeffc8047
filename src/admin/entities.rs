//! The verbs that write entities, one handler each for all kinds (reference gateway-2, section B.2).

use axum::response::Response;
use http::{Method, StatusCode};

use super::Admin;
use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::place::{self, Named, Place};
use super::read::View;
use super::store::Decided;
use super::{locate, read, reply};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::{self, Fresh, Target};
use crate::domain::entity::{Entity, Key, Kind};
use crate::domain::event::EventKind;

/// Answers a request for the entities of a kind.
pub(super) async fn answer(
    admin: &Admin,
    call: Call,
    place: Place,
    kind: Kind,
) -> Result<Response, ApiError> {
    match call.method {
        Method::POST => post(admin, &call, place, kind).await,
        Method::PUT => put(admin, &call, place, kind).await,
        Method::PATCH => patch(admin, &call, place, kind).await,
        Method::DELETE => delete(admin, &call, place).await,
        _ => read::read(admin, &call, &place),
    }
}

async fn post(admin: &Admin, call: &Call, place: Place, kind: Kind) -> Result<Response, ApiError> {
    let body = Body::read(call)?.into_document(&admin.0.catalog, kind, None);
    let catalog = admin.0.catalog.clone();
    let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
        let mut body = body.clone();
        if let Place::Nested { parent, field, .. } = &place {
            adopt(&catalog, config, parent, field, &mut body)?;
        }
        Ok(decide::post(&catalog, config, kind, body, fresh)?.into())
    };
    write(admin, call, decide, StatusCode::CREATED).await
}

async fn put(admin: &Admin, call: &Call, place: Place, kind: Kind) -> Result<Response, ApiError> {
    let body = Body::read(call)?.into_document(&admin.0.catalog, kind, None);
    let catalog = admin.0.catalog.clone();
    let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
        let mut body = body.clone();
        let target = match &place {
            Place::Entity(named) => locate::target(&catalog, named)?,
            Place::NestedEntity { .. } if !place::put_creates(kind) => {
                let target = Target::Id(locate::one(&catalog, config, &place)?.id());
                return Ok(decide::patch(&catalog, config, kind, &target, body, fresh)?.into());
            }
            Place::NestedEntity { parent, child, field } => {
                let parent = adopt(&catalog, config, parent, field, &mut body)?;
                locate::target_below(&catalog, config, parent, child, field, &mut body)?
            }
            Place::Foreign { child, field, .. } => {
                let child = locate::entity(&catalog, config, child)?;
                match locate::referred(config, child, field, kind) {
                    Some(referred) => Target::Id(referred.id()),
                    None => return link(&catalog, config, child, field, kind, body, fresh),
                }
            }
            _ => return Err(ApiError::MethodNotAllowed),
        };
        Ok(decide::put(&catalog, config, kind, &target, body, fresh)?.into())
    };
    write(admin, call, decide, StatusCode::OK).await
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

async fn patch(admin: &Admin, call: &Call, place: Place, kind: Kind) -> Result<Response, ApiError> {
    let catalog = admin.0.catalog.clone();
    let body = Body::read(call)?;
    let stored_plugin = body.is_form().then(|| {
        let head = admin.0.store.head();
        let entity = locate::one(&catalog, head.snapshot.config(), &place).ok()?;
        entity.document().get("name")?.as_str().map(str::to_owned)
    });
    let body = body.into_document(&catalog, kind, stored_plugin.flatten().as_deref());
    let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
        let target = match &place {
            Place::Entity(named) if !place::patch_misses_plainly(kind) => {
                match locate::target(&catalog, named)? {
                    Target::Through(..) => Target::Id(locate::one(&catalog, config, &place)?.id()),
                    target => target,
                }
            }
            place => Target::Id(locate::one(&catalog, config, place)?.id()),
        };
        Ok(decide::patch(&catalog, config, kind, &target, body.clone(), fresh)?.into())
    };
    write(admin, call, decide, StatusCode::OK).await
}

async fn delete(admin: &Admin, call: &Call, place: Place) -> Result<Response, ApiError> {
    let catalog = admin.0.catalog.clone();
    let decide = move |config: &Config, _: &mut Fresh<'_>| {
        let found = locate::one(&catalog, config, &place);
        let key = match (&place, found) {
            (Place::Foreign { .. }, Ok(_)) => return Err(ApiError::MethodNotAllowed),
            // What is not there at top level counts as deleted.
            (Place::Entity(_), Err(ApiError::NotFound)) => return Ok(Decided::default()),
            (_, found) => found?.key(),
        };
        Ok(Decided { changes: decide::delete(&catalog, config, key)?, entity: None })
    };
    write(admin, call, decide, StatusCode::NO_CONTENT).await
}

/// Puts the reference to the parent into a body, over what the body says; returns
/// the parent.
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

async fn write<F>(
    admin: &Admin,
    call: &Call,
    decide: F,
    status: StatusCode,
) -> Result<Response, ApiError>
where
    F: Fn(&Config, &mut Fresh<'_>) -> Result<Decided, ApiError> + Send + 'static,
{
    let (entity, head) = admin.0.store.write(call.origin(EventKind::Written), decide).await?;
    let response = match entity {
        Some(entity) => {
            let (catalog, config) = (&*admin.0.catalog, head.snapshot.config());
            let view = View { catalog, config, at: admin.0.clock.now() };
            reply::json(status, &view.show(&entity))
        }
        None => reply::empty(status),
    };
    Ok(reply::tag(response, head.config_hash))
}
