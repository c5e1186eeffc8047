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
            if let Some(number) = number(text) {
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
        (Type::Record(fields), Value::Object(object)) => infer_fields(fields, object),
        (Type::Map(_, values), Value::Object(object)) => {
            object.values_mut().for_each(|value| infer_value(values, value));
        }
        _ => {}
    }
}

/// Reads a number; whole numbers stay whole.
fn number(text: &str) -> Option<Number> {
    let text = text.trim();
    let starts = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if !starts {
        return None;
    }
    match text.parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => text.parse().ok().and_then(Number::from_f64),
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
