//! What operations are made of: parameters, bodies, answers, and the schemas that they share.

use serde_json::{Map, Value, json};

use super::field::reference;

/// The answers that say that something is wrong: status, and what it means.
const ERRORS: &[(&str, &str)] = &[
    ("400", "The request cannot be read or breaks a rule; `fields` says where."),
    ("401", "A token is asked for, and this is none."),
    ("403", "The token's role does not include this."),
    ("404", "Nothing is there."),
    ("405", "The path does not do this, or not on this node."),
    ("408", "The body did not arrive in time."),
    ("409", "Another entity has a value that must be unique, or too much would go without force."),
    ("412", "The configuration is not the one that `If-Match` names, or the entity is there."),
    ("413", "The body is too large."),
    ("415", "The body is of a type that is not read."),
    ("429", "Too many attempts failed; `Retry-After` says when to try again."),
    ("503", "The event log cannot be written now, `message` says why; reads go on."),
];

/// The errors of a request without a body.
pub(super) const READ_ERRORS: &[&str] = &["400", "401", "403", "404", "412", "429"];

/// The errors of a request that writes.
pub(super) const WRITE_ERRORS: &[&str] =
    &["400", "401", "403", "404", "405", "408", "409", "412", "413", "415", "429", "503"];

/// The types of bodies that are read.
const BODY_TYPES: &[&str] =
    &["application/json", "application/x-www-form-urlencoded", "multipart/form-data"];

/// Returns the schemas that operations share.
pub(super) fn components() -> Map<String, Value> {
    let error = json!({
        "type": "object",
        "required": ["message"],
        "properties": {
            "message": {"type": "string"},
            "code": {"type": "integer"},
            "name": {"type": "string"},
            "fields": {"type": "object"},
            "options": {"type": "object"},
            "operation": {"type": "object"},
            "config_hash": {"type": "string"},
            "shrinks": {"type": "object"},
            "flattened_errors": {"type": "array", "items": {"type": "object"}},
        },
        "additionalProperties": false,
    });
    let message = json!({
        "type": "object",
        "required": ["message"],
        "properties": {"message": {"type": "string"}},
        "additionalProperties": false,
    });
    Map::from_iter([("error".to_owned(), error), ("message".to_owned(), message)])
}

/// Returns the answers that operations share.
pub(super) fn responses() -> Map<String, Value> {
    let one = |(status, meaning): &(&str, &str)| {
        (format!("error_{status}"), response(meaning, &reference("error")))
    };
    ERRORS.iter().map(one).collect()
}

/// Returns an answer with a JSON body.
pub(super) fn response(meaning: &str, schema: &Value) -> Value {
    json!({"description": meaning, "content": {"application/json": {"schema": schema}}})
}

/// Returns an answer without a body.
pub(super) fn bare(meaning: &str) -> Value {
    json!({"description": meaning})
}

/// Returns an operation: its answers, with the errors that it may end in.
pub(super) fn operation(
    summary: &str,
    tag: &str,
    answers: impl IntoIterator<Item = (&'static str, Value)>,
    errors: &[&str],
) -> Value {
    let errors = errors.iter().map(|status| {
        let shared = json!({"$ref": format!("#/components/responses/error_{status}")});
        ((*status).to_owned(), shared)
    });
    let mut responses: Map<_, _> = errors.collect();
    // What an operation says itself goes before what all say.
    responses.extend(answers.into_iter().map(|(status, answer)| (status.to_owned(), answer)));
    json!({"summary": summary, "tags": [tag], "responses": responses})
}

/// Returns the answer to OPTIONS.
pub(super) fn options(tag: &str) -> Value {
    let answers = [("204", bare("The methods, in `Allow`."))];
    operation("List the methods of the path", tag, answers, &["404"])
}

/// Adds a body to an operation.
pub(super) fn with_body(mut operation: Value, schema: &Value) -> Value {
    let types = BODY_TYPES.iter().map(|ty| ((*ty).to_owned(), json!({"schema": schema})));
    let content: Map<_, _> = types.collect();
    operation["requestBody"] = json!({"content": content});
    operation
}

/// Adds arguments of the query to an operation: name, schema, what it does.
pub(super) fn with_query(mut operation: Value, arguments: &[(&str, Value, &str)]) -> Value {
    let arguments = arguments.iter().map(|(name, schema, meaning)| {
        json!({"name": name, "in": "query", "schema": schema, "description": meaning})
    });
    operation["parameters"] = arguments.collect();
    operation
}

/// Returns the arguments of a list.
pub(super) fn page_arguments() -> [(&'static str, Value, &'static str); 2] {
    [
        (
            "size",
            json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
            "How many items a page has.",
        ),
        ("offset", json!({"type": "string"}), "Where the page starts: `offset` of the one before."),
    ]
}

/// Returns a page of items.
pub(super) fn page(item: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["data", "next"],
        "properties": {
            "data": {"type": "array", "items": item},
            "next": {"type": ["string", "null"]},
            "offset": {"type": "string"},
        },
        "additionalProperties": false,
    })
}

/// Returns a parameter of a path.
pub(super) fn path_parameter(name: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "schema": {"type": "string", "minLength": 1},
    })
}
