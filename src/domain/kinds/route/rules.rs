//! What the protocols of a route ask of its other fields.

use serde_json::Value;

use super::Flavour;
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Check, Field, Match, Schema};

/// Adds the rules of a flavour to the schema.
pub(super) fn add(schema: Schema, flavour: Flavour) -> Schema {
    let without_sni = Match::elements(Field::string().not_one_of(WITH_SNI.iter().copied()));
    let only = "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or \
                'tls_passthrough'";
    let sources = &[
        "id",
        "protocols",
        "snis",
        "sources",
        "destinations",
        "methods",
        "hosts",
        "paths",
        "headers",
        "expression",
        "regex_priority",
        "priority",
    ];
    let expressions = flavour == Flavour::Expressions;
    schema
        .check(Check::conditional("protocols", without_sni, "snis", Match::len_eq(0)).err(only))
        // Kong warns here that `v1` is old.
        .check(Check::custom(&["path_handling"], |_| FieldErrors::default()))
        .check(Check::custom(sources, one_language).with_missing_fields())
        .rewrite(grpc_keeps_its_path)
        .custom(if expressions { check_expressions } else { check_attributes })
}

/// The attributes that an expression stands for.
const ATTRIBUTES: &[&str] =
    &["methods", "hosts", "paths", "headers", "snis", "sources", "destinations"];

/// A route has an expression or attributes. Whether an expression can be read, the router knows.
fn one_language(document: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let attributes = ATTRIBUTES.iter().any(|field| is_set(document, field));
    let ranked =
        |field| document.get(field).and_then(Value::as_f64).is_some_and(|rank| rank != 0.0);
    let all = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations'";
    let refused = if !is_set(document, "expression") {
        (attributes && ranked("priority"))
            .then(|| format!("cannot set 'priority' with {all} simultaneously"))
    } else if attributes {
        Some(format!("cannot set 'expression' with {all} simultaneously"))
    } else {
        ranked("regex_priority")
            .then(|| "cannot set 'regex_priority' with 'expression' simultaneously".to_owned())
    };
    if let Some(text) = refused {
        errors.entity(format!("Router Expression failed validation: {text}"));
    }
    errors
}

/// For gRPC the default of `strip_path` is false.
fn grpc_keeps_its_path(document: &mut Document) -> Result<(), FieldErrors> {
    if names(document, "protocols").iter().any(|name| matches!(*name, "grpc" | "grpcs"))
        && !document.contains_key("strip_path")
    {
        document.insert("strip_path".into(), false.into());
    }
    Ok(())
}

fn names<'a>(document: &'a Document, field: &str) -> Vec<&'a str> {
    let list = document.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What a route of some protocols must and must not set.
struct ProtocolRule {
    protocols: &'static [&'static str],
    one_of: &'static [&'static str],
    none_of: &'static [&'static str],
    /// How the protocols are named in errors about `one_of` and `none_of`.
    said: (&'static str, &'static str),
}

const HTTP: &str = "'http' or 'https'";
const STREAM: &str = "'tcp', 'tls', 'tls_passthrough' or 'udp'";

/// The first rule that has one of the route's protocols applies.
const RULES: &[ProtocolRule] = &[
    ProtocolRule {
        protocols: &["https"],
        one_of: &["methods", "hosts", "headers", "paths", "snis"],
        none_of: &["sources", "destinations"],
        said: ("'https'", HTTP),
    },
    ProtocolRule {
        protocols: &["http"],
        one_of: &["methods", "hosts", "headers", "paths"],
        none_of: &["sources", "destinations"],
        said: ("'http'", HTTP),
    },
    ProtocolRule {
        protocols: &["grpcs"],
        one_of: &["hosts", "headers", "paths", "snis"],
        none_of: &["methods", "sources", "destinations", "strip_path"],
        said: ("'grpcs'", "'grpc' or 'grpcs'"),
    },
    ProtocolRule {
        protocols: &["grpc"],
        one_of: &["hosts", "headers", "paths"],
        none_of: &["methods", "sources", "destinations", "strip_path"],
        said: ("'grpc'", "'grpc' or 'grpcs'"),
    },
    ProtocolRule {
        protocols: &["tcp", "tls", "udp"],
        one_of: &["sources", "destinations", "snis"],
        none_of: &["methods", "hosts", "paths", "headers"],
        said: ("'tcp', 'tls' or 'udp'", STREAM),
    },
    ProtocolRule {
        protocols: &["tls_passthrough"],
        one_of: &["snis"],
        none_of: &["methods", "hosts", "paths", "headers"],
        said: ("'tls_passthrough'", STREAM),
    },
];

/// Protocols in whose handshake a server name is seen.
const WITH_SNI: &[&str] = &["grpcs", "https", "tls", "tls_passthrough"];

fn check_attributes(document: &Document) -> FieldErrors {
    check_by_protocol(document, false)
}

/// With expressions every protocol may have one, and HTTP too knows peers and own addresses.
fn check_expressions(document: &Document) -> FieldErrors {
    check_by_protocol(document, true)
}

fn check_by_protocol(document: &Document, expressions: bool) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let protocols = names(document, "protocols");
    let rule = RULES.iter().find(|rule| rule.protocols.iter().any(|name| protocols.contains(name)));
    let Some(rule) = rule else { return errors };
    for field in rule.none_of {
        let allowed = expressions && matches!(*field, "sources" | "destinations");
        if is_set(document, field) && !allowed {
            let text = format!("cannot set '{field}' when 'protocols' is {}", rule.said.1);
            errors.insert(field, text.into());
        }
    }
    let expression = expressions.then_some("expression");
    let mut one_of = rule.one_of.iter().copied().chain(expression);
    if !one_of.any(|field| is_set(document, field)) {
        errors.entity(match rule.one_of {
            [field] => format!("must set {field} when 'protocols' is {}", rule.said.0),
            fields => {
                let fields = fields.iter().copied().chain(expression);
                let fields: Vec<_> = fields.map(|field| format!("'{field}'")).collect();
                let fields = fields.join(", ");
                format!("must set one of {fields} when 'protocols' is {}", rule.said.0)
            }
        });
    }
    errors
}

fn is_set(document: &Document, field: &str) -> bool {
    match document.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(object)) => !object.is_empty(),
        Some(_) => true,
    }
}
