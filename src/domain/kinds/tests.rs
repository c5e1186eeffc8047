//! Schemas and typed structs agree, and what fields admit.

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::canonical::Document;
use crate::domain::schema::{Auto, Field, Fields, Mark, Type, UnknownNull, Validator, check_value};

/// Returns a value that fills a field, every field of its records included.
pub(crate) fn fill(field: &Field) -> Value {
    if let Some(value) = &field.default
        && !matches!(field.ty, Type::Record(_))
    {
        return value.clone();
    }
    if let Some(allowed) = field.validators.iter().find_map(|rule| match rule {
        Validator::OneOf(values) => values.first(),
        _ => None,
    }) {
        return allowed.clone();
    }
    match &field.ty {
        Type::String if field.auto == Some(Auto::Id) => json!(Uuid::from_u128(7)),
        Type::String => json!("text"),
        Type::Integer => json!(1),
        Type::Number if field.milliseconds => json!(1.5),
        Type::Number => json!(1),
        Type::Boolean => json!(true),
        Type::Array(element) | Type::Set(element) => json!([fill(element)]),
        Type::Map(_, values) => json!({"name": fill(values)}),
        Type::Record(fields) => Value::Object(fill_all(fields)),
        Type::Foreign { .. } => json!({"id": Uuid::from_u128(9)}),
        Type::Abstract => json!({}),
        Type::Json(_) => json!("text"),
    }
}

pub(crate) fn fill_all(fields: &Fields) -> Document {
    let kept = fields.iter().filter(|(_, field)| !field.is(Mark::Transient));
    kept.map(|(name, field)| (name.to_owned(), fill(field))).collect()
}

/// Returns a document that fills every field of a kind with what its struct reads.
fn full(schema: &Schema) -> Document {
    let mut document = fill_all(&schema.fields);
    // The text that stands for any string does not pass as a UUID.
    if let Some(ids) = document.get_mut("ca_certificates") {
        *ids = json!([Uuid::from_u128(8)]);
    }
    // What is abstract, the name says.
    if let Some(part) = schema.subschemas.first() {
        document.insert("name".into(), part.name.into());
        document.extend(fill_all(&part.fields));
    }
    document
}

#[test]
fn every_field_of_every_schema_reads_into_its_struct() {
    for entry in ALL {
        let schema = (entry.schema)();
        let entity = Entity::new(schema.kind, &full(&schema)).unwrap();
        (entry.check)(&entity).unwrap_or_else(|error| panic!("{error:?}"));
    }
}

#[test]
fn what_a_schema_requires_is_all_that_its_struct_needs() {
    for entry in ALL {
        let schema = (entry.schema)();
        let mut document = full(&schema);
        let abstracted = |field: &Field| matches!(field.ty, Type::Abstract);
        let optional =
            |field: &Field| !field.required && field.auto.is_none() && !abstracted(field);
        for (name, _) in schema.fields.iter().filter(|(_, field)| optional(field)) {
            document.remove(name);
        }
        let entity = Entity::new(schema.kind, &document).unwrap();
        (entry.check)(&entity).unwrap_or_else(|error| panic!("{error:?}"));
    }
}

#[test]
fn a_struct_has_no_field_that_its_schema_lacks() {
    for entry in ALL {
        let schema = (entry.schema)();
        let mut document = full(&schema);
        document.insert("no_such_field".into(), json!(1));
        let entity = Entity::new(schema.kind, &document).unwrap();
        assert!((entry.check)(&entity).is_err(), "{} reads unknown fields", schema.kind);
    }
}

fn error(field: &Field, value: &str) -> Option<Value> {
    check_value(field, &value.into(), UnknownNull::Refuse)
}

#[test]
fn router_paths_are_normal_prefixes_or_regexes_that_compile() {
    let path = typedef::router_path();
    for good in ["/", "/a", "/a/", "/a%20b", "~/a/(?<id>[0-9]+)$", "/é"] {
        let seen = error(&path, good);
        assert_eq!(seen.is_some(), good == "/a%20b", "{good}: {seen:?}");
    }
    assert_eq!(
        error(&path, "a"),
        Some("should start with: / (fixed path) or ~/ (regex path)".into())
    );
    assert_eq!(error(&path, "/a//b"), Some("must not have empty segments".into()));
    assert_eq!(error(&path, "/%61"), Some("non-normalized path, consider use '/a' instead".into()));
    assert_eq!(error(&path, "/a%2"), Some("invalid url-encoded value: '%2'".into()));
    for bad in ["~/(", "~/(?=a)", "~/a{1000}{1000}{1000}"] {
        assert!(
            error(&path, bad).is_some_and(|e| e.as_str().unwrap().starts_with("invalid regex: '/")),
            "{bad}"
        );
    }
}

#[test]
fn hosts_have_one_wildcard_at_an_end() {
    let host = typedef::route_host();
    for good in ["a", "a.b:80", "*.b", "a.*", "*.b:8000", "10.0.0.1", "[::1]:80"] {
        assert_eq!(error(&host, good), None, "{good}");
    }
    for bad in ["", "a*b", "*.a.*", "a:port", "a b", "-a"] {
        assert!(error(&host, bad).is_some(), "{bad}");
    }
}

#[test]
fn paths_are_normalised() {
    for (path, normal) in [
        ("/", "/"),
        ("", "/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../..", "/"),
        ("//a//", "/a/"),
        ("/%7e/%2f/%e9", "/~/%2F/%E9"),
        ("/a/..", "/"),
        ("/a%", "/a%"),
    ] {
        assert_eq!(typedef::normalise_path(path), normal, "{path}");
    }
}
