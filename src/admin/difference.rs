//! What a write would do, without writing it: `dry_run`.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::ApiError;
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::difference::Difference;
use crate::domain::event::Change;
use crate::domain::rejection::FieldErrors;
use crate::domain::shrink::Shrink;
use crate::writer::Head;

/// Most changes that one answer without pages spells out.
pub(super) const PREVIEW_LEN: usize = 1000;

/// Returns whether a request only asks what it would do.
pub(super) fn is_dry_run(call: &Call, body: &Document) -> Result<bool, ApiError> {
    match call.argument("dry_run") {
        None => {}
        Some("1" | "true" | "") => return Ok(true),
        Some("0" | "false") => return Ok(false),
        Some(_) => return Err(ApiError::option("dry_run", "expected 1 or 0")),
    }
    match body.get("dry_run") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(dry_run)) => Ok(*dry_run),
        Some(_) => Err(FieldErrors::one("dry_run", "expected a boolean").into()),
    }
}

/// Returns what changes would make of a head: the hash that would result, and the differences.
pub(super) fn preview(catalog: &Catalog, head: &Head, changes: &[Change]) -> Map<String, Value> {
    let after = head.snapshot.apply(catalog, changes).hash();
    let shown = changes.iter().take(PREVIEW_LEN);
    Map::from_iter([
        ("dry_run".to_owned(), true.into()),
        ("seq".into(), json!(head.seq)),
        ("config_hash".into(), json!(after)),
        ("changed".into(), (!changes.is_empty()).into()),
        (
            "changes".into(),
            shown.map(|change| show(catalog, head.snapshot.config(), change)).collect(),
        ),
        ("changes_total".into(), changes.len().into()),
        (
            "shrinks".into(),
            Shrink::of(head.snapshot.config(), changes).map_or(Value::Null, |it| it.to_json()),
        ),
    ])
}

/// Returns what a change does to a config.
pub(super) fn show(catalog: &Catalog, before: &Config, change: &Change) -> Value {
    Difference::of(catalog, before, change).to_json()
}
