//! References by a unique field, such as `{"name": …}`, become references by id.

use serde_json::Value;

use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::rejection::Rejection;
use crate::domain::schema::Schema;

/// Replaces references by a unique field, such as `{"name": …}`, by references by id.
pub(super) fn resolve(
    catalog: &Catalog,
    config: &Config,
    schema: &Schema,
    body: &mut Document,
) -> Result<(), Rejection> {
    for (field, kind, _) in schema.foreign_fields() {
        let Some(Value::Object(key)) = body.get(field) else { continue };
        if key.contains_key("id") {
            continue;
        }
        let unique =
            catalog.schema(kind).unique_fields().find_map(|name| Some((name, key.get(name)?)));
        let Some((name, value)) = unique else { continue };
        let Some(id) = config.by_unique(kind, name, value) else {
            let value = value.as_str().unwrap_or_default().to_owned();
            let by = (name.to_owned(), value);
            return Err(Rejection::Unresolved { field: field.to_owned(), kind, by });
        };
        body.insert(field.to_owned(), serde_json::json!({"id": id.to_string()}));
    }
    Ok(())
}
