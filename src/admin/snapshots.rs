//! Snapshots over HTTP: the configs that the log has had, what is in one, and what differs
//! between two.

use axum::response::Response;
use http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::ApiError;
use super::{Admin, difference, etag, list, reply};
use crate::domain::declarative;
use crate::domain::event::Seq;
use crate::log::moment::{Moment, ParseMomentError};
use crate::snapshot::file;
use crate::writer::Head;

/// The type of a snapshot's file.
const FILE_TYPE: &str = "application/gzip";

/// Returns one page of snapshots, the newest first: the config at each position, with its size.
pub(super) async fn list(admin: &Admin, call: &Call) -> Result<Value, ApiError> {
    let size = u64::try_from(list::size(call)?).unwrap_or(u64::MAX);
    let end = admin.0.store.head().seq.next();
    let end = match call.argument("offset") {
        None => end,
        Some(text) => {
            let wrong = |_| ApiError::offset(text, "expected the position of an event");
            text.parse().map(Seq).map_err(wrong)?.min(end)
        }
    };
    let floor = admin.0.store.floor().await?;
    let end = end.max(floor.next());
    let start = Seq(end.0.saturating_sub(1).saturating_sub(size)).max(floor);
    let len = end.0.saturating_sub(1).saturating_sub(start.0);
    let mut config = admin.0.store.at(Moment::Seq(start)).await?.snapshot.config().clone();
    let mut data = Vec::new();
    for event in admin.0.store.events(start, len).await? {
        for change in &event.changes {
            config.apply(&admin.0.catalog, change);
        }
        data.push(json!({
            "config_hash": event.config_hash,
            "seq": event.seq,
            "at": event.at,
            "kind": event.origin.kind,
            "entities": config.len(),
        }));
    }
    data.reverse();
    if start == floor {
        return Ok(json!({"data": data, "next": null}));
    }
    let offset = start.next().to_string();
    let size = call.argument("size").map(|size| format!("&size={size}")).unwrap_or_default();
    let next = format!("/snapshots?offset={offset}{size}");
    Ok(json!({"data": data, "next": next, "offset": offset}))
}

/// Answers with what is in a snapshot, or with the snapshot itself: as a declarative tree, or as
/// the file that starts a data plane.
pub(super) async fn one(admin: &Admin, call: &Call, moment: &str) -> Result<Response, ApiError> {
    let head = at(admin, moment).await?;
    let (catalog, config) = (&admin.0.catalog, head.snapshot.config());
    let body = match format(call)? {
        Format::File => return Ok(etag::tag(download(admin, &head), head.config_hash)),
        Format::Declarative => declarative::export(catalog, config),
        Format::Summary => {
            let count = |kind| config.of_kind(kind, None).count();
            let counts = catalog.schemas().map(|schema| (schema.kind, count(schema.kind)));
            let counts = counts.filter(|(_, count)| *count > 0);
            let counts: Map<_, _> =
                counts.map(|(kind, count)| (kind.name().to_owned(), count.into())).collect();
            let mut about = about(&head);
            about["entities"] = config.len().into();
            about["kinds"] = counts.into();
            about
        }
    };
    Ok(etag::tag(reply::json(StatusCode::OK, &body), head.config_hash))
}

fn about(head: &Head) -> Value {
    json!({"config_hash": head.config_hash, "seq": head.seq, "at": head.at})
}

/// How a snapshot is shown.
enum Format {
    Summary,
    Declarative,
    File,
}

fn format(call: &Call) -> Result<Format, ApiError> {
    let accepts_file = call.headers.get(ACCEPT).is_some_and(|types| types == FILE_TYPE);
    match call.argument("format") {
        None if accepts_file => Ok(Format::File),
        None | Some("summary") => Ok(Format::Summary),
        Some("declarative") => Ok(Format::Declarative),
        Some("file") => Ok(Format::File),
        Some(_) => Err(ApiError::option("format", "expected summary, declarative or file")),
    }
}

fn download(admin: &Admin, head: &Head) -> Response {
    let bytes = file::encode(&admin.0.catalog, &head.snapshot, None);
    let mut response = reply::empty(StatusCode::OK);
    *response.body_mut() = bytes.into();
    let name = format!("attachment; filename=\"{}\"", file::FILE_NAME);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FILE_TYPE));
    response.headers_mut().insert(CONTENT_DISPOSITION, reply::ascii(&name));
    response
}

/// Returns one page of what differs between two snapshots, by entity and field.
pub(super) async fn diff(
    admin: &Admin,
    call: &Call,
    from: &str,
    to: &str,
) -> Result<Response, ApiError> {
    let (size, skip) = (list::size(call)?, list::skip(call)?);
    let (from, to) = (at(admin, from).await?, at(admin, to).await?);
    let (catalog, old) = (&admin.0.catalog, from.snapshot.config());
    let changes = old.diff(catalog, to.snapshot.config());
    let next = skip.saturating_add(size).to_string();
    let page = list::Page::take(changes.iter().skip(skip), size, |_| next);
    let carried: Vec<_> = call.argument("size").map(|size| ("size", size)).into_iter().collect();
    // Hashes name the same snapshots for ever, whatever the path was.
    let path = format!("/snapshots/{}/diff/{}", from.config_hash, to.config_hash);
    let mut body = page.answer(&path, &carried, |change| difference::show(catalog, old, change));
    body["total"] = changes.len().into();
    body["from"] = about(&from);
    body["to"] = about(&to);
    Ok(etag::tag(reply::json(StatusCode::OK, &body), to.config_hash))
}

async fn at(admin: &Admin, moment: &str) -> Result<std::sync::Arc<Head>, ApiError> {
    let moment = moment.parse().map_err(|error: ParseMomentError| {
        ApiError::BadRequest(format!("'{moment}' names no snapshot: {error}"))
    })?;
    admin.0.store.at(moment).await
}
