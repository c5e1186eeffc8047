//! Tags: which entities carry which (reference gateway-2, section B.5).
//!
//! Lists follow the config's index of tags, so that a page costs what it shows.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Admin;
use super::call::Call;
use super::error::ApiError;
use super::list::{self, Page};
use crate::domain::entity::Key;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Type, UnknownNull, check_value};

/// Returns one page of all tags.
pub(super) fn all(admin: &Admin, call: &Call) -> Result<Value, ApiError> {
    page(admin, call, None)
}

/// Returns one page of the entities that carry a tag.
pub(super) fn one(admin: &Admin, call: &Call, tag: &str) -> Result<Value, ApiError> {
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
    page(admin, call, Some(tag))
}

fn page(admin: &Admin, call: &Call, only: Option<&str>) -> Result<Value, ApiError> {
    let (size, after) = (list::size(call)?, after(admin, call)?);
    let head = admin.0.store.head();
    let after = after.as_ref().map(|(tag, key)| (tag.as_str(), *key));
    let tags = head.snapshot.config().tags(only, after);
    let page = Page::take(tags, size, |(tag, key)| mark(tag, *key));
    let path = match only {
        None => "/tags".to_owned(),
        Some(tag) => {
            let escape = percent_encoding::NON_ALPHANUMERIC;
            format!("/tags/{}", percent_encoding::utf8_percent_encode(tag, escape))
        }
    };
    let carried: Vec<_> = call.argument("size").map(|size| ("size", size)).into_iter().collect();
    Ok(page.answer(
        &path,
        &carried,
        |(tag, key)| json!({"tag": tag, "entity_name": key.kind.name(), "entity_id": key.id}),
    ))
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
