//! Batches: many operations, one event, all or nothing. Each operation sees those before it.

use std::collections::BTreeSet;

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::operation::{self, Operation};
use super::place::Place;
use super::read::View;
use super::{Admin, difference, etag, force, reason, reply};
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::decide::Fresh;
use crate::domain::entity::Entity;
use crate::domain::event::{Change, EventKind};
use crate::domain::rejection::FieldErrors;

/// Most operations of a batch: the writer decides them in one go, and other writes wait.
const OPERATIONS_MAX: usize = 1000;

/// One operation of a batch, with what names it in errors.
struct Step {
    method: Method,
    path: String,
    operation: Operation,
}

/// A batch, read.
struct Batch(Vec<Step>);

/// Answers `POST /batch`.
pub(super) async fn answer(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    let body = document(call)?;
    let batch = Batch::read(&admin.0.catalog, body.get("operations"))?;
    let statuses: Vec<_> = batch.0.iter().map(|step| step.operation.status()).collect();
    let mut origin = call.origin(EventKind::Written)?;
    origin.reason = reason::of_body(&body)?.or(origin.reason);
    let forced = force::is_asked(call, Some(&body))?;
    if difference::is_dry_run(call, &body)? {
        return try_out(admin, call, &batch, &statuses);
    }
    let catalog = admin.0.catalog.clone();
    let decide = move |config: &Config, fresh: &mut Fresh<'_>| {
        let (changes, entities) = batch.decide(&catalog, config, fresh)?;
        let changed = !changes.is_empty();
        let deprecated = batch.deprecated(&catalog, &entities);
        Ok((changes, (entities, changed, deprecated)))
    };
    let (decided, head) = admin.0.store.write((call, forced), origin, decide).await?;
    let (entities, changed, deprecated) = decided;
    operation::say(&deprecated);
    let body = json!({
        "seq": head.seq,
        "config_hash": head.config_hash,
        "changed": changed,
        "results": results(&View::of(admin, head.snapshot.config()), &statuses, &entities),
    });
    Ok(etag::tag(reply::json(StatusCode::OK, &body), head.config_hash))
}

/// Answers what the batch would do to the newest config. Ids and times that it would draw are
/// drawn anew by the write, and with them its hash.
fn try_out(
    admin: &Admin,
    call: &Call,
    batch: &Batch,
    statuses: &[StatusCode],
) -> Result<Response, ApiError> {
    let (catalog, head) = (&admin.0.catalog, admin.0.store.head());
    etag::check(call, head.config_hash)?;
    let mut id = || admin.0.clock.id();
    let mut fresh = Fresh { at: admin.0.clock.now(), id: &mut id };
    let (changes, entities) = batch.decide(catalog, head.snapshot.config(), &mut fresh)?;
    let mut body = difference::preview(catalog, &head, &changes);
    let mut after = head.snapshot.config().clone();
    for change in &changes {
        after.apply(catalog, change);
    }
    body.insert("results".into(), results(&View::of(admin, &after), statuses, &entities));
    Ok(etag::tag(reply::json(StatusCode::OK, &body.into()), head.config_hash))
}

fn results(view: &View<'_>, statuses: &[StatusCode], entities: &[Option<Entity>]) -> Value {
    let result = |(status, entity): (&StatusCode, &Option<Entity>)| match entity {
        Some(entity) => json!({"status": status.as_u16(), "body": view.show(entity)}),
        None => json!({"status": status.as_u16()}),
    };
    statuses.iter().zip(entities).map(result).collect()
}

/// Reads the body: an object with `operations`, or the operations alone.
fn document(call: &Call) -> Result<Map<String, Value>, ApiError> {
    if !call.content_type().is_some_and(|ty| ty.starts_with("application/json")) {
        return Err(ApiError::UnsupportedMedia);
    }
    let document = match serde_json::from_slice(&call.body) {
        Ok(Value::Object(document)) => document,
        Ok(Value::Array(operations)) => Map::from_iter([("operations".into(), operations.into())]),
        _ => return Err(ApiError::BadRequest("Cannot parse JSON body".into())),
    };
    known_members(&document, &["operations", "reason", "dry_run", "force"])?;
    Ok(document)
}

fn known_members(document: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    let mut errors = FieldErrors::default();
    for name in document.keys().filter(|name| !known.contains(&name.as_str())) {
        errors.insert(name, "unknown field".into());
    }
    Ok(errors.into_result()?)
}

impl Batch {
    fn read(catalog: &Catalog, operations: Option<&Value>) -> Result<Self, ApiError> {
        let wrong = |why: &str| ApiError::from(FieldErrors::one("operations", why));
        let operations = match operations {
            None | Some(Value::Null) => return Err(wrong("required field missing")),
            Some(Value::Array(operations)) => operations,
            Some(_) => return Err(wrong("expected an array")),
        };
        if operations.len() > OPERATIONS_MAX {
            return Err(wrong(&format!("length must be at most {OPERATIONS_MAX}")));
        }
        let steps = operations.iter().enumerate().map(|(index, operation)| {
            let text = |name| operation.get(name).and_then(Value::as_str).map(str::to_owned);
            Step::read(catalog, operation)
                .map_err(|error| at(index, text("method"), text("path"), error))
        });
        steps.collect::<Result<_, _>>().map(Self)
    }

    /// Decides all operations, one after the other. What comes out leads from the config straight
    /// to the one after the last: what an operation made and a later one undid is not in it.
    fn decide(
        &self,
        catalog: &Catalog,
        config: &Config,
        fresh: &mut Fresh<'_>,
    ) -> Result<(Vec<Change>, Vec<Option<Entity>>), ApiError> {
        let mut now = config.clone();
        let mut entities = Vec::with_capacity(self.0.len());
        for (index, step) in self.0.iter().enumerate() {
            let decided = step.operation.decide(catalog, &now, fresh).map_err(|error| {
                at(index, Some(step.method.to_string()), Some(step.path.clone()), error)
            })?;
            for change in &decided.changes {
                now.apply(catalog, change);
            }
            entities.push(decided.entity);
        }
        Ok((config.diff(catalog, &now), entities))
    }

    /// Returns what is to be said of the deprecated fields that the operations set, once each.
    fn deprecated(&self, catalog: &Catalog, entities: &[Option<Entity>]) -> Vec<String> {
        let of = |(step, entity): (&Step, &Option<Entity>)| {
            step.operation.deprecated(catalog, entity.as_ref())
        };
        let said: BTreeSet<_> = self.0.iter().zip(entities).flat_map(of).collect();
        said.into_iter().collect()
    }
}

impl Step {
    fn read(catalog: &Catalog, operation: &Value) -> Result<Self, ApiError> {
        let Some(members) = operation.as_object() else {
            return Err(ApiError::BadRequest("expected an object".into()));
        };
        known_members(members, &["method", "path", "body"])?;
        let text = |name: &str| match members.get(name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            None | Some(Value::Null) => Err(FieldErrors::one(name, "required field missing")),
            Some(_) => Err(FieldErrors::one(name, "expected a string")),
        };
        let (method, path) = (text("method")?, text("path")?);
        let body = match members.get("body") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(body)) => body.clone(),
            Some(_) => return Err(FieldErrors::one("body", "expected a record").into()),
        };
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| FieldErrors::one("method", "expected one of: POST, PUT, PATCH, DELETE"))?;
        if path.contains(['?', '#']) || path.contains("%00") {
            return Err(FieldErrors::one("path", "expected a path without a query").into());
        }
        let place = match Place::resolve(catalog, path) {
            Some(place) if place.kind().is_none() => {
                let why = "only entities can be written in a batch";
                return Err(FieldErrors::one("path", why).into());
            }
            place => place.ok_or(ApiError::NotFound)?,
        };
        let operation = Operation::new(&method, place, Body::of_json(body))?;
        Ok(Self { method, path: path.to_owned(), operation })
    }
}

fn at(index: usize, method: Option<String>, path: Option<String>, error: ApiError) -> ApiError {
    let operation = json!({"index": index, "method": method, "path": path});
    ApiError::Operation { operation, error: Box::new(error) }
}
