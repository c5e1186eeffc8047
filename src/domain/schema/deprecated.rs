//! What a document sets that should not be set any more.

use serde_json::Value;

use super::validator::same;
use super::{Deprecation, Field, Fields, Type};
use crate::domain::canonical::Document;

/// Returns what is to be said of a body in Kong's words, once for each deprecated field that it sets
/// to something else than the old default; null sets nothing.
pub fn deprecated(fields: &Fields, body: &Document) -> Vec<String> {
    let mut said = Vec::new();
    of_record(fields, body, &mut said);
    said
}

fn of_record(fields: &Fields, record: &Document, said: &mut Vec<String>) {
    for (name, field) in fields.iter() {
        if let Some(value) = record.get(name) {
            of_field(field, value, said);
        }
    }
}

fn of_field(field: &Field, value: &Value, said: &mut Vec<String>) {
    if let Some(deprecation) = &field.deprecation {
        of_value(deprecation, value, said);
    }
    match (&field.ty, value) {
        (Type::Record(fields), Value::Object(record)) => {
            for shorthand in &field.shorthands {
                if let Some(value) = record.get(shorthand.name) {
                    of_field(&shorthand.field, value, said);
                }
            }
            of_record(fields, record, said);
        }
        (Type::Array(element) | Type::Set(element), Value::Array(items)) => {
            items.iter().for_each(|item| of_field(element, item, said));
        }
        (Type::Map(_, values), Value::Object(map)) => {
            map.values().for_each(|value| of_field(values, value, said));
        }
        _ => {}
    }
}

fn of_value(deprecation: &Deprecation, value: &Value, said: &mut Vec<String>) {
    let is_default = deprecation.old_default.as_ref().is_some_and(|old| same(old, value));
    let text = format!("{} (deprecated after {})", deprecation.message, Deprecation::REMOVAL);
    if !value.is_null() && !is_default && !said.contains(&text) {
        said.push(text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Shorthand;
    use super::*;

    #[test]
    fn each_old_field_that_is_set_is_named_once() {
        let old = Shorthand::renamed("old", Field::string(), &["new"], "old is new");
        let size = Field::integer().deprecated(Deprecation::new("no size").old_default(1));
        let item = Field::record([("size", size), ("new", Field::string())]).shorthand(old);
        let mut fields = Fields::default();
        fields.push("items", Field::array(item));
        let said = |body: Value| deprecated(&fields, body.as_object().unwrap());
        let (size, old) = ("no size (deprecated after 4.0)", "old is new (deprecated after 4.0)");
        assert_eq!(said(json!({"items": [{"size": 2}, {"size": 3}]})), [size]);
        assert_eq!(said(json!({"items": [{"old": "x", "size": 2.0}]})), [old, size]);
        let nothing = json!({"items": [{"old": null, "size": 1.0, "new": "x"}], "unknown": 1});
        assert_eq!(said(nothing), [""; 0]);
    }
}
