//! Entities as clients see them: every field present, what other entities hold beside it, and
//! times as they are now.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::canonical::Document;
use super::catalog::Catalog;
use super::config::Config;
use super::decide::names_of;
use super::entity::Entity;
use super::lifetime;

/// Returns an entity of a config as the Admin API shows it.
pub fn show(catalog: &Catalog, config: &Config, entity: &Entity, at: DateTime<Utc>) -> Document {
    let schema = catalog.schema(entity.kind());
    let mut shown = catalog.present(entity.kind(), entity.document());
    if let Some(by) = schema.named_by {
        let names = names_of(catalog, config, by, entity.key());
        shown.insert(by.list.into(), names.into_iter().map(Value::from).collect());
    }
    if schema.ttl {
        lifetime::show(&mut shown, at);
    }
    shown
}
