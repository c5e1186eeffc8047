//! The document describes everything that is served, and is what it says it is.

use super::*;
use crate::plugins;

fn described(role: Role) -> Value {
    document(&plugins::catalog(|_| true), role)
}

#[test]
fn every_path_and_method_is_described() {
    let catalog = plugins::catalog(|_| true);
    for role in [Role::ControlPlane, Role::Traditional] {
        let document = described(role);
        let paths = document["paths"].as_object().unwrap();
        let patterns = place::patterns(&catalog, role);
        assert_eq!(paths.len(), patterns.len());
        for pattern in patterns {
            let named = Named::resolve(&catalog, &pattern).unwrap();
            for method in named.methods().split(", ") {
                let operation = &paths[&pattern][method.to_ascii_lowercase()];
                assert!(operation["summary"].is_string(), "{method} {pattern}");
                let answers = operation["responses"].as_object().unwrap();
                assert!(!answers.is_empty(), "{method} {pattern}");
            }
        }
    }
}

#[test]
fn operations_have_names_of_their_own() {
    let document = described(Role::Traditional);
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            item.as_object().unwrap().iter().filter(|(m, _)| *m != "parameters")
        {
            let id = operation["operationId"].as_str().unwrap();
            assert!(names.insert(id.to_owned()), "{method} {path}: {id} is taken");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = described(Role::ControlPlane);
    let mut left = vec![&document];
    let mut seen = 0;
    while let Some(value) = left.pop() {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    seen += 1;
                }
                left.extend(object.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn schemas_say_what_fields_may_hold() {
    let document = described(Role::ControlPlane);
    let schemas = &document["components"]["schemas"];
    let service = &schemas["services"]["properties"];
    assert_eq!(service["retries"]["maximum"], 32767);
    assert_eq!(service["id"], json!({"type": "string", "format": "uuid"}));
    assert_eq!(service["name"]["type"], json!(["string", "null"]));
    let create = &schemas["services_create"];
    assert_eq!(create["properties"]["retries"]["default"], 5);
    assert!(create["properties"]["url"].is_object(), "shorthands may be sent");
    let forms = schemas["plugins"]["anyOf"].as_array().unwrap();
    let named = |name: &str| forms.iter().any(|form| form["properties"]["name"]["const"] == name);
    assert!(named("correlation-id") && !named("nope"));
    assert_eq!(schemas["services_update"].get("required"), None);
}
