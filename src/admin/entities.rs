//! The verbs over entities, one handler each for all kinds (reference gateway-2, section B.2).

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use super::Admin;
use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::list::{self, Page, Tags};
use super::operation::Operation;
use super::place::{self, Place};
use super::store::View;
use super::{etag, locate, reply};
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::{Fresh, Target};
use crate::domain::entity::{Entity, Kind};
use crate::domain::event::EventKind;
use crate::domain::kinds::consumer;

/// Answers a request for entities.
pub(super) async fn answer(admin: &Admin, call: &Call, place: Place) -> Result<Response, ApiError> {
    match call.method {
        Method::GET | Method::HEAD => read(admin, call, &place).await,
        _ => write(admin, call, place).await,
    }
}

async fn read(admin: &Admin, call: &Call, place: &Place) -> Result<Response, ApiError> {
    let view = admin.0.store.view(call).await?;
    let (catalog, config) = (&admin.0.catalog, view.config());
    let body = match place {
        Place::Collection(kind) => collection(catalog, &view, call, *kind)?,
        Place::Nested { parent, kind, field, read_only } => {
            let parent = locate::entity(catalog, config, parent)?;
            nested(catalog, &view, call, parent, (*kind, field), *read_only)?
        }
        place => show(catalog, locate::place(catalog, config, place)?),
    };
    etag::answer(call, view.head.config_hash, &body)
}

/// Returns an entity as Kong shows it.
pub(super) fn show(catalog: &Catalog, entity: &Entity) -> Value {
    Value::Object(catalog.present(entity.kind(), entity.document()))
}

fn collection(catalog: &Catalog, view: &View, call: &Call, kind: Kind) -> Result<Value, ApiError> {
    let config = view.config();
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
        .chain(view.at.as_deref().map(|at| ("at", at)))
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
    view: &View,
    call: &Call,
    parent: &Entity,
    (kind, field): (Kind, &'static str),
    all: bool,
) -> Result<Value, ApiError> {
    let (size, config) = (list::size(call)?, view.config());
    // Kong checks the filter here, and then does not use it.
    Tags::read(catalog, kind, call)?;
    let (above, below) = (catalog.schema(parent.kind()), catalog.schema(kind));
    let tail = if all { "/all" } else { "" };
    let path = format!("/{}/{}/{}{tail}", above.admin_path, parent.id(), below.nested_path);
    let page = if place::newest_first(kind) {
        let skip = list::skip(call)?;
        let mut children: Vec<_> =
            locate::referring(config, parent.key(), kind, field, None).collect();
        children.sort_by_cached_key(|entity| std::cmp::Reverse(created_ms(entity)));
        let next = skip.saturating_add(size).to_string();
        Page::take(children.into_iter().skip(skip), size, |_| next)
    } else {
        let after = list::after(call)?;
        let children = locate::referring(config, parent.key(), kind, field, after);
        Page::take(children, size, |entity| list::mark(entity.id()))
    };
    let carried: Vec<_> = view.at.as_deref().map(|at| ("at", at)).into_iter().collect();
    Ok(page.answer(&path, &carried, |entity| show(catalog, entity)))
}

fn created_ms(entity: &Entity) -> i64 {
    let seconds = entity.document().get("created_at").and_then(Value::as_f64).unwrap_or_default();
    (seconds * 1000.0).round() as i64
}

async fn write(admin: &Admin, call: &Call, place: Place) -> Result<Response, ApiError> {
    if call.argument("at").is_some() {
        return Err(ApiError::option("at", "only reads can go back; see POST /rollback"));
    }
    if call.argument("dry_run").is_some() {
        return Err(ApiError::option("dry_run", "only POST /batch and POST /rollback know it"));
    }
    let absent = etag::wants_absence(&call.headers)?;
    let operation = Operation::new(&call.method, place, Body::read(call)?)?;
    let (status, catalog) = (operation.status(), admin.0.catalog.clone());
    let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
        if absent && operation.is_present(&catalog, config) {
            return Err(ApiError::Present);
        }
        let decided = operation.decide(&catalog, config, fresh)?;
        Ok((decided.changes, decided.entity))
    };
    let origin = call.origin(EventKind::Written)?;
    let (entity, head) = admin.0.store.write(call, origin, decide).await?;
    let response = match entity {
        Some(entity) => reply::json(status, &show(&admin.0.catalog, &entity)),
        None => reply::empty(status),
    };
    Ok(etag::tag(response, head.config_hash))
}
