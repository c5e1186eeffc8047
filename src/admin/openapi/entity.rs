//! The operations on entities.

use serde_json::{Value, json};

use super::super::place::Place;
use super::field::{Use, reference};
use super::operation::{
    READ_ERRORS, WRITE_ERRORS, bare, operation as describe, options, page, page_arguments,
    response, with_body, with_query,
};
use crate::domain::catalog::Catalog;
use crate::domain::entity::Kind;
use crate::domain::kinds::consumer;

/// Describes what a method does at a place that holds entities.
pub(super) fn operation(catalog: &Catalog, place: &Place, method: &str) -> Value {
    let Some(kind) = place.kind() else { return options("node") };
    let name = kind.name();
    let schema = |of: Use| reference(&format!("{kind}{}", of.suffix()));
    let one = || response("The entity.", &schema(Use::Answer));
    let lists = matches!(place, Place::Collection(_) | Place::Nested { .. });
    match method {
        "GET" | "HEAD" if lists => list(catalog, place, kind, method),
        "GET" | "HEAD" => {
            let answers = [("200", one()), ("304", bare("The configuration is the one known."))];
            let summary = format!("Read one of {name}");
            let described = describe(&summary, name, bodiless(method, answers), READ_ERRORS);
            with_query(described, &[at()])
        }
        "POST" => {
            let answers = [("201", response("The entity was made.", &schema(Use::Answer)))];
            let described = describe(&format!("Create one of {name}"), name, answers, WRITE_ERRORS);
            with_body(described, &schema(Use::Create))
        }
        "PUT" => {
            let summary = format!("Create or replace one of {name}");
            with_body(
                describe(&summary, name, [("200", one())], WRITE_ERRORS),
                &schema(Use::Create),
            )
        }
        "PATCH" => {
            let summary = format!("Update one of {name}");
            with_body(
                describe(&summary, name, [("200", one())], WRITE_ERRORS),
                &schema(Use::Update),
            )
        }
        "DELETE" => {
            let answers = [("204", bare("It is gone."))];
            describe(&format!("Delete one of {name}"), name, answers, WRITE_ERRORS)
        }
        _ => options(name),
    }
}

fn list(catalog: &Catalog, place: &Place, kind: Kind, method: &str) -> Value {
    let name = kind.name();
    let answers = [
        ("200", response("One page.", &page(&reference(name)))),
        ("304", bare("The configuration is the one known.")),
    ];
    let described = describe(&format!("List {name}"), name, bodiless(method, answers), READ_ERRORS);
    let mut arguments = page_arguments().to_vec();
    arguments.push(at());
    if catalog.schema(kind).fields.find("tags").is_some() {
        let meaning = "Only entities with all of `a,b`, or with one of `a/b`.";
        arguments.push(("tags", json!({"type": "string"}), meaning));
    }
    if kind == consumer::KIND && matches!(place, Place::Collection(_)) {
        arguments.push(("custom_id", json!({"type": "string"}), "Only the consumer with this."));
    }
    with_query(described, &arguments)
}

/// Returns the argument that leads to an earlier configuration.
fn at() -> (&'static str, Value, &'static str) {
    let moment = json!({"anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^[0-9a-f]{8,64}$"},
        {"type": "string", "format": "date-time"},
    ]});
    ("at", moment, "An earlier configuration: a position of the log, a config hash, or a time.")
}

/// Takes the bodies out of the answers to HEAD.
pub(super) fn bodiless<const N: usize>(
    method: &str,
    mut answers: [(&'static str, Value); N],
) -> [(&'static str, Value); N] {
    if method == "HEAD" {
        for (_, answer) in &mut answers {
            drop(answer.as_object_mut().and_then(|answer| answer.remove("content")));
        }
    }
    answers
}
