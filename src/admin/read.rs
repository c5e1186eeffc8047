//! GET over entities: one, or a page of a list (reference gateway-2, sections B.2 and B.5). What is
//! read is found first and rendered last, so that an answer that needs no body costs none.

use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::Value;

use super::Admin;
use super::call::Call;
use super::error::ApiError;
use super::filter::{self, Tags};
use super::list::{self, Page};
use super::place::{self, Place};
use super::{etag, locate, reply};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::Target;
use crate::domain::entity::{Entity, Key, Kind};
use crate::domain::kinds::{consumer, target};
use crate::domain::{lifetime, view};

/// What a GET speaks of, in one config.
enum Found<'c, 'a> {
    One(&'c Entity),
    /// A page, and the path that leads to the next one but for its offset.
    Some(Page<&'c Entity>, list::Way<'a>),
}

/// Answers GET and HEAD.
pub(super) async fn read(admin: &Admin, call: &Call, place: &Place) -> Result<Response, ApiError> {
    let from = admin.0.store.view(call).await?;
    let now = View::of(admin, from.config());
    let view = View { at: from.time.unwrap_or(now.at), ..now };
    let mut found = find(&view, call, place)?;
    if let Found::Some(_, way) = &mut found {
        way.carried.extend(from.at.as_deref().map(|at| ("at", at)));
    }
    etag::answer(call, from.head.config_hash, || found.render(&view))
}

/// Answers with what a place holds now, whatever the client knows.
pub(super) fn shown(view: &View<'_>, call: &Call, place: &Place) -> Result<Response, ApiError> {
    Ok(find(view, call, place)?.render(view))
}

impl Found<'_, '_> {
    fn render(self, view: &View<'_>) -> Response {
        match self {
            Self::One(entity) => reply::json(StatusCode::OK, &view.show(entity)),
            Self::Some(page, way) => {
                let body = page.write(&way, |entity| view.show(entity));
                reply::text(StatusCode::OK, body, reply::JSON)
            }
        }
    }
}

/// What is seen of one config at one time.
pub(super) struct View<'c> {
    pub(super) catalog: &'c Catalog,
    pub(super) config: &'c Config,
    pub(super) at: DateTime<Utc>,
}

impl<'c> View<'c> {
    /// Returns what is seen of a config now.
    pub(super) fn of(admin: &'c Admin, config: &'c Config) -> Self {
        Self { catalog: &admin.0.catalog, config, at: admin.0.clock.now() }
    }

    /// Returns an entity as the Admin API shows it.
    pub(super) fn show(&self, entity: &Entity) -> Value {
        Value::Object(view::show(self.catalog, self.config, entity, self.at))
    }

    /// Returns whether an entity's time is not over.
    fn lives(&self, entity: &Entity) -> bool {
        !lifetime::is_over(self.catalog.schema(entity.kind()), entity, self.at)
    }
}

fn find<'c, 'a>(view: &View<'c>, call: &'a Call, place: &Place) -> Result<Found<'c, 'a>, ApiError> {
    match place {
        Place::Collection(kind) => collection(view, call, *kind),
        Place::Nested { .. } => nested(view, call, place),
        place => match locate::place(view.catalog, view.config, place)? {
            entity if view.lives(entity) => Ok(Found::One(entity)),
            _ => Err(ApiError::NotFound),
        },
    }
}

fn collection<'c, 'a>(
    view: &View<'c>,
    call: &'a Call,
    kind: Kind,
) -> Result<Found<'c, 'a>, ApiError> {
    let View { catalog, config, .. } = *view;
    if kind == consumer::KIND
        && let Some(custom_id) = call.argument("custom_id")
    {
        return by_custom_id(config, custom_id);
    }
    let tags = Tags::read(catalog, kind, call)?;
    let (size, after) = (list::size(call)?, list::after(call)?);
    let mark = |entity: &&Entity| list::mark(entity.id());
    let page = match tags {
        Some(tags) => {
            let tagged = tags.select(config, kind, after);
            Page::take(tagged.filter(|entity| view.lives(entity)), size, mark)
        }
        None => {
            let all = config.of_kind(kind, after);
            Page::take(all.filter(|entity| view.lives(entity)), size, mark)
        }
    };
    let carried = [("tags", filter::argument(call)), ("size", call.argument("size"))].into_iter();
    let carried = carried.filter_map(|(name, value)| Some((name, value?)));
    let path = format!("/{}", catalog.schema(kind).admin_path);
    Ok(Found::Some(page, list::Way { path, carried: carried.collect() }))
}

fn by_custom_id<'c>(config: &'c Config, custom_id: &str) -> Result<Found<'c, 'static>, ApiError> {
    if custom_id.is_empty() {
        return Err(ApiError::BadRequest("custom_id must be an unempty string".into()));
    }
    let target = Target::Name("custom_id", custom_id.to_owned());
    let items = target.find(config, consumer::KIND).into_iter().collect();
    Ok(Found::Some(Page { items, offset: None }, list::Way::default()))
}

fn nested<'c>(view: &View<'c>, call: &Call, place: &Place) -> Result<Found<'c, 'static>, ApiError> {
    let View { catalog, config, .. } = *view;
    let Place::Nested { parent, kind, field, read_only } = place else {
        return Err(ApiError::NotFound);
    };
    let above = locate::entity(catalog, config, parent)?.key();
    // Kong checks the filter here, and then does not use it.
    Tags::read(catalog, *kind, call)?;
    let size = list::size(call)?;
    let tail = if *read_only { "/all" } else { "" };
    let (outer, inner) = (catalog.schema(parent.kind), catalog.schema(*kind));
    let name = place::segment(&parent.text);
    let path = format!("/{}/{name}/{}{tail}", outer.admin_path, inner.nested_path);
    let page = if place::newest_first(*kind) {
        newest_page(newest_first(config, above, *kind, field), list::skip(call)?, size)
    } else {
        let children = locate::referring(config, above, *kind, field, list::after(call)?);
        Page::take(children.filter(|entity| view.lives(entity)), size, |entity| {
            list::mark(entity.id())
        })
    };
    Ok(Found::Some(page, list::Way { path, carried: Vec::new() }))
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
    newest_first(config, upstream.key(), target::KIND, "upstream")
}

fn newest_first<'c>(
    config: &'c Config,
    parent: Key,
    kind: Kind,
    field: &'static str,
) -> Vec<&'c Entity> {
    let mut children: Vec<_> = locate::referring(config, parent, kind, field, None).collect();
    children.sort_by_cached_key(|entity| std::cmp::Reverse(created_ms(entity)));
    children
}

fn newest_page(children: Vec<&Entity>, skip: usize, size: usize) -> Page<&Entity> {
    let next = skip.saturating_add(size).to_string();
    Page::take(children.into_iter().skip(skip), size, |_| next)
}

fn created_ms(entity: &Entity) -> i64 {
    let seconds = entity.document().get("created_at").and_then(Value::as_f64).unwrap_or_default();
    (seconds * 1000.0).round() as i64
}
