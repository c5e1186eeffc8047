//! The verbs over entities, one handler each for all kinds (reference gateway-2, section B.2).

use axum::response::Response;
use http::header::IF_NONE_MATCH;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Admin;
use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::list::{self, Page, Tags};
use super::place::{self, Named, Place};
use super::store::Decided;
use super::{locate, read_only, reply};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::{self, Fresh, Target};
use crate::domain::entity::{Entity, Kind};
use crate::domain::event::EventKind;
use crate::domain::kinds::{consumer, target};

/// Answers a request for the entities of a kind.
pub(super) async fn answer(
    admin: &Admin,
    call: Call,
    place: Place,
    kind: Kind,
) -> Result<Response, ApiError> {
    let refusal = read_only::refusal_of(&admin.0.catalog, &call.method, &place, kind);
    let answered = match call.method {
        Method::POST => post(admin, &call, place, kind).await,
        Method::PUT => put(admin, &call, place, kind).await,
        Method::PATCH => patch(admin, &call, place, kind).await,
        Method::DELETE => delete(admin, &call, place).await,
        _ => return read(admin, &call, &place),
    };
    // The store refuses without knowing what a place is called.
    answered.map_err(|error| match error {
        ApiError::Unsupported { .. } => refusal,
        error => error,
    })
}

fn read(admin: &Admin, call: &Call, place: &Place) -> Result<Response, ApiError> {
    let head = admin.0.store.head();
    let body = shown(&admin.0.catalog, head.snapshot.config(), call, place)?;
    if call.headers.get(IF_NONE_MATCH) == Some(&reply::etag(head.config_hash)) {
        return Ok(reply::tag(reply::empty(StatusCode::NOT_MODIFIED), head.config_hash));
    }
    Ok(reply::tag(reply::json(StatusCode::OK, &body), head.config_hash))
}

/// Returns what a place holds in a config.
pub(super) fn shown(
    catalog: &Catalog,
    config: &Config,
    call: &Call,
    place: &Place,
) -> Result<Value, ApiError> {
    match place {
        Place::Collection(kind) => collection(catalog, config, call, *kind),
        Place::Nested { parent, kind, field, read_only } => {
            let parent = locate::entity(catalog, config, parent)?;
            nested(catalog, config, call, parent, (*kind, field), *read_only)
        }
        place => Ok(show(catalog, find(catalog, config, place)?)),
    }
}

/// Returns the one entity that a place names.
fn find<'c>(catalog: &Catalog, config: &'c Config, place: &Place) -> Result<&'c Entity, ApiError> {
    match place {
        Place::Entity(named) => locate::entity(catalog, config, named),
        Place::NestedEntity { parent, child, field } => {
            let parent = locate::entity(catalog, config, parent)?;
            locate::child(catalog, config, parent.key(), child, field)
        }
        Place::Foreign { child, field, kind } => {
            let child = locate::entity(catalog, config, child)?;
            locate::referred(config, child, field, *kind).ok_or(ApiError::NotFound)
        }
        Place::Fixed(_) | Place::Info(_) | Place::Collection(_) | Place::Nested { .. } => {
            Err(ApiError::NotFound)
        }
    }
}

fn show(catalog: &Catalog, entity: &Entity) -> Value {
    Value::Object(catalog.present(entity.kind(), entity.document()))
}

fn collection(
    catalog: &Catalog,
    config: &Config,
    call: &Call,
    kind: Kind,
) -> Result<Value, ApiError> {
    if kind == consumer::KIND
        && let Some(custom_id) = call.argument("custom_id")
    {
        return by_custom_id(catalog, config, custom_id);
    }
    let (size, after) = (list::size(call)?, list::after(call)?);
    let mark = |entity: &&Entity| list::mark(entity.id());
    let page = match Tags::read(catalog, kind, call)? {
        Some(tags) => Page::take(tags.select(config, kind, after), size, mark),
        None => Page::take(config.of_kind(kind, after), size, mark),
    };
    let carried: Vec<_> = ["tags", "size"]
        .into_iter()
        .filter_map(|name| call.argument(name).map(|value| (name, value)))
        .collect();
    let path = format!("/{}", catalog.schema(kind).admin_path);
    Ok(page.answer(&path, &carried, |entity| show(catalog, entity)))
}

fn by_custom_id(catalog: &Catalog, config: &Config, custom_id: &str) -> Result<Value, ApiError> {
    if custom_id.is_empty() {
        return Err(ApiError::BadRequest("custom_id must be an unempty string".into()));
    }
    let target = Target::Name("custom_id", custom_id.to_owned());
    let data: Vec<_> =
        target.find(config, consumer::KIND).map(|found| show(catalog, found)).into_iter().collect();
    Ok(json!({"data": data, "next": null}))
}

fn nested(
    catalog: &Catalog,
    config: &Config,
    call: &Call,
    parent: &Entity,
    (kind, field): (Kind, &'static str),
    all: bool,
) -> Result<Value, ApiError> {
    let size = list::size(call)?;
    // Kong checks the filter here, and then does not use it.
    Tags::read(catalog, kind, call)?;
    let (above, below) = (catalog.schema(parent.kind()), catalog.schema(kind));
    let tail = if all { "/all" } else { "" };
    let path = format!("/{}/{}/{}{tail}", above.admin_path, parent.id(), below.nested_path);
    let page = if place::newest_first(kind) {
        newest_page(newest_targets(config, parent), list::skip(call)?, size)
    } else {
        let after = list::after(call)?;
        let children = locate::referring(config, parent.key(), kind, field, after);
        Page::take(children, size, |entity| list::mark(entity.id()))
    };
    Ok(page.answer(&path, &[], |entity| show(catalog, entity)))
}

/// Returns one page of an upstream's targets with what `more` adds to each.
pub(super) fn targets(
    catalog: &Catalog,
    config: &Config,
    call: &Call,
    upstream: &Entity,
    tail: &str,
    more: impl Fn(Document) -> Document,
) -> Result<Value, ApiError> {
    let page = newest_page(newest_targets(config, upstream), list::skip(call)?, list::size(call)?);
    let path = format!("/{}/{}/{tail}", upstream.kind(), upstream.id());
    let shown = |entity: &Entity| catalog.present(entity.kind(), entity.document());
    Ok(page.answer(&path, &[], |entity| Value::Object(more(shown(entity)))))
}

/// Returns the targets of an upstream, the newest first.
pub(super) fn newest_targets<'c>(config: &'c Config, upstream: &Entity) -> Vec<&'c Entity> {
    let targets = locate::referring(config, upstream.key(), target::KIND, "upstream", None);
    let mut targets: Vec<_> = targets.collect();
    targets.sort_by_cached_key(|entity| std::cmp::Reverse(created_ms(entity)));
    targets
}

fn newest_page(targets: Vec<&Entity>, skip: usize, size: usize) -> Page<&Entity> {
    let next = skip.saturating_add(size).to_string();
    Page::take(targets.into_iter().skip(skip), size, |_| next)
}

fn created_ms(entity: &Entity) -> i64 {
    let seconds = entity.document().get("created_at").and_then(Value::as_f64).unwrap_or_default();
    (seconds * 1000.0).round() as i64
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
                let target = Target::Id(find(&catalog, config, &place)?.id());
                return Ok(decide::patch(&catalog, config, kind, &target, body, fresh)?.into());
            }
            Place::NestedEntity { parent, child, field } => {
                adopt(&catalog, config, parent, field, &mut body)?;
                locate::target(&catalog, child)?
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
    let stored_plugin = find(&catalog, admin.0.store.head().snapshot.config(), &place)
        .ok()
        .and_then(|entity| entity.document().get("name")?.as_str().map(str::to_owned));
    let body = Body::read(call)?.into_document(&catalog, kind, stored_plugin.as_deref());
    let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
        let target = match &place {
            Place::Entity(named) if !place::patch_misses_plainly(kind) => {
                locate::target(&catalog, named)?
            }
            place => Target::Id(find(&catalog, config, place)?.id()),
        };
        Ok(decide::patch(&catalog, config, kind, &target, body.clone(), fresh)?.into())
    };
    write(admin, call, decide, StatusCode::OK).await
}

async fn delete(admin: &Admin, call: &Call, place: Place) -> Result<Response, ApiError> {
    let catalog = admin.0.catalog.clone();
    let decide = move |config: &Config, _: &mut Fresh<'_>| {
        let found = find(&catalog, config, &place);
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

/// Puts the reference to the parent into a body, over what the body says.
fn adopt(
    catalog: &Catalog,
    config: &Config,
    parent: &Named,
    field: &str,
    body: &mut Document,
) -> Result<(), ApiError> {
    let parent = locate::entity(catalog, config, parent)?;
    body.insert(field.to_owned(), locate::reference_to(parent.key()));
    Ok(())
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
        Some(entity) => reply::json(status, &show(&admin.0.catalog, &entity)),
        None => reply::empty(status),
    };
    Ok(reply::tag(response, head.config_hash))
}
