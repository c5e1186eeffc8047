//! `/config`: the declarative configuration of a node without a database
//! (reference gateway-2, section B.6; hybrid.md, section 10).

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::{Admin, etag, flatten, force, reply};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::{self, Fresh};
use crate::domain::declarative;
use crate::domain::entity::Entity;
use crate::domain::event::EventKind;
use crate::domain::rejection::{FieldErrors, Rejection};
use crate::snapshot::Snapshot;
use crate::snapshot::file::parse_text;

/// Returns the configuration as YAML.
pub(super) fn export(admin: &Admin) -> Result<Value, ApiError> {
    without_database(admin)?;
    let head = admin.0.store.head();
    let tree = declarative::export(&admin.0.catalog, head.snapshot.config());
    Ok(json!({"config": declarative::yaml::write(&tree)}))
}

/// Replaces the configuration.
pub(super) async fn load(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    without_database(admin)?;
    let forced = force::is_asked(call, None)?;
    let (source, flattens) = (Source::read(call)?, flattens(call));
    let head = admin.0.store.head();
    let (catalog, clock) = (admin.0.catalog.clone(), admin.0.clock.clone());
    // Large files take a while, and the other requests of this thread would wait for it.
    let read = tokio::task::spawn_blocking(move || -> Result<_, Refused> {
        let config = read(&catalog, &clock, head.snapshot.config(), source, flattens)?;
        let hash = Snapshot::of(config.clone()).hash();
        Ok((config, hash))
    });
    let (config, hash) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(refused)) => return refused.answer(),
        Err(error) => {
            tracing::error!(%error, "cannot read a declarative configuration");
            return Err(ApiError::Unexpected);
        }
    };
    if call.argument("check_hash") == Some("1") && admin.0.store.head().config_hash == hash {
        return Ok(reply::empty(StatusCode::NOT_MODIFIED));
    }
    let head = admin.0.store.import(forced, call.origin(EventKind::Imported)?, config).await?;
    let shown = show(&admin.0.catalog, head.snapshot.config());
    Ok(etag::tag(reply::json(StatusCode::CREATED, &shown), head.config_hash))
}

fn without_database(admin: &Admin) -> Result<(), ApiError> {
    let text = "this endpoint is only available when Kong is configured to not use a database";
    if admin.0.options.database_off { Ok(()) } else { Err(ApiError::BadRequest(text.into())) }
}

fn flattens(call: &Call) -> bool {
    matches!(call.argument("flatten_errors"), Some("1" | "true" | "on" | "yes"))
}

/// A configuration as it was sent.
enum Source {
    Text(String),
    Tree(Value),
}

impl Source {
    fn read(call: &Call) -> Result<Self, ApiError> {
        let is_yaml =
            |ty: &str| ["application/yaml", "text/yaml"].iter().any(|y| ty.starts_with(y));
        let source = if call.content_type().is_some_and(is_yaml) {
            std::str::from_utf8(&call.body).ok().map(|text| Self::Text(text.to_owned()))
        } else {
            let mut body = Body::read(call)?.into_plain();
            if body.contains_key("_format_version") {
                Some(Self::Tree(Value::Object(body)))
            } else {
                match body.remove("config") {
                    Some(Value::String(text)) => Some(Self::Text(text)),
                    Some(tree @ Value::Object(_)) => Some(Self::Tree(tree)),
                    _ => None,
                }
            }
        };
        let empty = |source: &Self| matches!(source, Self::Text(text) if text.trim().is_empty());
        source
            .filter(|source| !empty(source))
            .ok_or_else(|| ApiError::BadRequest("expected a declarative configuration".into()))
    }
}

/// Why a configuration was not loaded: what is wrong, and what it says of each entity.
struct Refused {
    rejection: Rejection,
    flattened: Option<Vec<Value>>,
}

impl Refused {
    fn answer(self) -> Result<Response, ApiError> {
        let error = ApiError::Rejected(self.rejection);
        let Some(flattened) = self.flattened else { return Err(error) };
        let mut body = error.body();
        body["flattened_errors"] = flattened.into();
        Ok(reply::json(error.status(), &body))
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, flattened: None }
    }
}

/// Reads a configuration, with the times of what `now` has already.
fn read(
    catalog: &Arc<Catalog>,
    clock: &Clock,
    now: &Config,
    source: Source,
    flattens: bool,
) -> Result<Config, Refused> {
    let tree = match source {
        Source::Tree(tree) => tree,
        Source::Text(text) => parse_text("", &text).map_err(|error| {
            let errors = FieldErrors::one("error", error.to_string());
            Refused {
                rejection: Rejection::Declarative(errors),
                flattened: flattens.then(Vec::new),
            }
        })?,
    };
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    let entities =
        declarative::parse(catalog, &tree, &mut fresh).map_err(|rejection| match rejection {
            Rejection::Declarative(errors) if flattens => {
                let (left, flattened) = flatten::flatten(catalog, &tree, errors.as_map());
                let mut errors = FieldErrors::default();
                left.into_iter().for_each(|(name, error)| errors.insert(&name, error));
                Refused { rejection: Rejection::Declarative(errors), flattened: Some(flattened) }
            }
            rejection => rejection.into(),
        })?;
    let entities = declarative::keep_times(catalog, now, entities);
    decide::assemble(catalog, entities).map_err(|wrong| {
        let mut errors = FieldErrors::default();
        for (key, rejection) in wrong {
            errors.insert_path(&format!("{}.{}", key.kind, key.id), rejection.message().into());
        }
        Rejection::Declarative(errors).into()
    })
}

/// Returns every entity under its kind and id.
fn show(catalog: &Catalog, config: &Config) -> Value {
    let mut kinds: Map<String, Value> = Map::new();
    for entity in config.iter() {
        let kind = kinds.entry(entity.kind().name()).or_insert_with(|| json!({}));
        kind[entity.id().to_string()] = shown(catalog, entity);
    }
    Value::Object(kinds)
}

fn shown(catalog: &Catalog, entity: &Entity) -> Value {
    Value::Object(catalog.present(entity.kind(), entity.document()))
}
