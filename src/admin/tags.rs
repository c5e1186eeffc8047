//! Tags: which entities carry which (reference gateway-2, section B.5).
//!
//! Lists follow the config's index of tags, so that a page costs what it shows.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Admin;
use super::call::Call;
use super::error::ApiError;
use super::list::{self, Page};
use super::{etag, reply};
use crate::domain::entity::Key;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Type, UnknownNull, check_value};

/// Returns one page of all tags.
pub(super) async fn all(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    page(admin, call, None).await
}

/// Returns one page of the entities that carry a tag.
pub(super) async fn one(admin: &Admin, call: &Call, tag: &str) -> Result<Response, ApiError> {
    if let Type::Set(element) = typedef::tags().ty
        && let Some(error) = check_value(&element, &tag.into(), UnknownNull::Refuse)
    {
        let message = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        return Err(ApiError::Argument {
            code: 10,
            name: "invalid unique tag",
            message,
            options: None,
        });
    }
    page(admin, call, Some(tag)).await
}

async fn page(admin: &Admin, call: &Call, only: Option<&str>) -> Result<Response, ApiError> {
    let (size, after) = (list::size(call)?, after(admin, call)?);
    let from = admin.0.store.view(call).await?;
    let after = after.as_ref().map(|(tag, key)| (tag.as_str(), *key));
    let tags = from.config().tags(only, after);
    let page = Page::take(tags, size, |(tag, key)| mark(tag, *key));
    let path = match only {
        None => "/tags".to_owned(),
        Some(tag) => {
            let escape = percent_encoding::NON_ALPHANUMERIC;
            format!("/tags/{}", percent_encoding::utf8_percent_encode(tag, escape))
        }
    };
    let carried = [("size", call.argument("size")), ("at", from.at.as_deref())].into_iter();
    let carried: Vec<_> = carried.filter_map(|(name, value)| Some((name, value?))).collect();
    etag::answer(call, from.head.config_hash, || {
        let body = page.answer(
            &path,
            &carried,
            |(tag, key)| json!({"tag": tag, "entity_name": key.kind.name(), "entity_id": key.id}),
        );
        reply::json(StatusCode::OK, &body)
    })
}

fn mark(tag: &str, key: Key) -> String {
    list::encode(&json!([key.id, key.kind.name(), tag]))
}

/// Returns the entry after which a page starts.
fn after(admin: &Admin, call: &Call) -> Result<Option<(String, Key)>, ApiError> {
    let Some(offset) = call.argument("offset") else { return Ok(None) };
    let value = list::decode(offset)?;
    let read = || match value.as_array().map(Vec::as_slice) {
        Some([Value::String(id), Value::String(kind), Value::String(tag)]) => {
            let (id, kind) = (Uuid::try_parse(id).ok()?, admin.0.catalog.kind(kind)?);
            Some((tag.clone(), Key { kind, id }))
        }
        _ => None,
    };
    let wrong = || ApiError::offset(offset, "expected the place of a tag");
    read().ok_or_else(wrong).map(Some)
}
