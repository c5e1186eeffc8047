//! Inference: what the texts of a form mean under a schema (reference gateway-2, section B.4).

use serde_json::{Number, Value};

use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::entity::Kind;
use crate::domain::schema::{Field, Fields, Type};

/// Turns texts into what their fields hold; what does not fit stays text, for the schema to refuse.
/// `stored_plugin` is the name of the plugin that a patch is for.
pub(super) fn infer(
    catalog: &Catalog,
    kind: Kind,
    document: &mut Document,
    stored_plugin: Option<&str>,
) {
    let schema = catalog.schema(kind);
    infer_fields(&schema.fields, document);
    for (name, field) in &schema.shorthands {
        if let Some(value) = document.get_mut(*name) {
            infer_value(field, value);
        }
    }
    let name = document.get("name").and_then(Value::as_str).or(stored_plugin);
    let field = name.and_then(|name| catalog.config_of(kind, name));
    if let (Some(field), Some(config)) = (field, document.get_mut("config")) {
        infer_value(field, config);
    }
}

/// Takes an empty list for an empty record or map, and the other way round: in Lua, and so to
/// Kong's clients, they are the same.
pub(super) fn settle_empty(catalog: &Catalog, kind: Kind, document: &mut Document) {
    let schema = catalog.schema(kind);
    for (name, field) in schema.fields.iter() {
        if let Some(value) = document.get_mut(name) {
            settle(field, value);
        }
    }
}

fn settle(field: &Field, value: &mut Value) {
    match (&field.ty, &mut *value) {
        (Type::Record(_) | Type::Map(..) | Type::Abstract, Value::Array(items))
            if items.is_empty() =>
        {
            *value = Value::Object(Document::new());
        }
        (Type::Array(_) | Type::Set(_), Value::Object(object)) if object.is_empty() => {
            *value = Value::Array(Vec::new());
        }
        (Type::Record(fields), Value::Object(object)) => {
            for (name, field) in fields.iter() {
                if let Some(value) = object.get_mut(name) {
                    settle(field, value);
                }
            }
        }
        _ => {}
    }
}

fn infer_fields(fields: &Fields, document: &mut Document) {
    for (name, field) in fields.iter() {
        if let Some(value) = document.get_mut(name) {
            infer_value(field, value);
        }
    }
}

fn infer_value(field: &Field, value: &mut Value) {
    if value.as_str() == Some("") {
        *value = Value::Null;
        return;
    }
    match (&field.ty, &mut *value) {
        (Type::Integer | Type::Number, Value::String(text)) => {
            if let Some(number) = json_number(text) {
                *value = Value::Number(number);
            }
        }
        (Type::Boolean, Value::String(text)) => match text.as_str() {
            "true" => *value = true.into(),
            "false" => *value = false.into(),
            _ => {}
        },
        (Type::Array(element) | Type::Set(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| infer_value(element, item));
        }
        (Type::Array(element) | Type::Set(element), Value::String(_)) => {
            let mut only = value.take();
            infer_value(element, &mut only);
            *value = Value::Array(vec![only]);
        }
        (Type::Record(fields), Value::Object(object)) => {
            infer_fields(fields, object);
            for shorthand in &field.shorthands {
                if let Some(value) = object.get_mut(shorthand.name) {
                    infer_value(&shorthand.field, value);
                }
            }
        }
        (Type::Map(_, values), Value::Object(object)) => {
            object.values_mut().for_each(|value| infer_value(values, value));
        }
        _ => {}
    }
}

/// Reads a number as Lua does: decimal or hexadecimal, spaces around it ignored.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok().map(|whole| sign * f64::from(whole)),
        None if digits.starts_with(['+', '-']) => None,
        None => digits.parse::<f64>().ok().map(|number| sign * number),
    }
}

/// Returns a number as JSON has it, whole ones without a point; infinities have none.
fn json_number(text: &str) -> Option<Number> {
    match text.trim().parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => Number::from_f64(number(text)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kinds::{route, service};
    use serde_json::json;

    fn inferred(kind: Kind, document: Value) -> Value {
        let Value::Object(mut document) = document else { panic!("a document is an object") };
        infer(&Catalog::new(Vec::new()), kind, &mut document, None);
        document.into()
    }

    #[test]
    fn the_schema_says_what_a_text_is() {
        for (kind, text, value) in [
            (service::KIND, json!({"port": "80"}), json!({"port": 80})),
            (service::KIND, json!({"port": "8.5"}), json!({"port": 8.5})),
            (service::KIND, json!({"port": " 0x50 "}), json!({"port": 80.0})),
            (service::KIND, json!({"port": "-1e2"}), json!({"port": -100.0})),
            (service::KIND, json!({"port": "+7"}), json!({"port": 7})),
            (service::KIND, json!({"port": "+-7"}), json!({"port": "+-7"})),
            (service::KIND, json!({"port": "0x"}), json!({"port": "0x"})),
            (service::KIND, json!({"port": "many"}), json!({"port": "many"})),
            (service::KIND, json!({"port": "inf"}), json!({"port": "inf"})),
            (service::KIND, json!({"name": "80"}), json!({"name": "80"})),
            (service::KIND, json!({"path": ""}), json!({"path": null})),
            (service::KIND, json!({"enabled": "false"}), json!({"enabled": false})),
            (service::KIND, json!({"enabled": "yes"}), json!({"enabled": "yes"})),
            (route::KIND, json!({"paths": "/a"}), json!({"paths": ["/a"]})),
            (route::KIND, json!({"paths": ""}), json!({"paths": null})),
            (route::KIND, json!({"headers": {"x": "a"}}), json!({"headers": {"x": ["a"]}})),
            (
                route::KIND,
                json!({"sources": [{"ip": "10.0.0.1", "port": "80"}]}),
                json!({"sources": [{"ip": "10.0.0.1", "port": 80}]}),
            ),
            (route::KIND, json!({"service": ""}), json!({"service": null})),
        ] {
            assert_eq!(inferred(kind, text.clone()), value, "{text}");
        }
    }
}
