//! What only the router knows of a route: whether its patterns and its expression compile. Asked when
//! a route is written, so that no data plane has to refuse it.

use serde_json::Value;

use super::expression;
use super::header::HeaderRule;
use super::pattern::Pattern;
use crate::domain::canonical::Document;
use crate::domain::kinds::route::Flavour;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::Custom;

/// Returns the rule over the documents of routes in a flavour.
pub fn route_rule(flavour: Flavour) -> Custom {
    match flavour {
        Flavour::Traditional => |document| check(Flavour::Traditional, document),
        Flavour::TraditionalCompatible => {
            |document| check(Flavour::TraditionalCompatible, document)
        }
        Flavour::Expressions => |document| check(Flavour::Expressions, document),
    }
}

fn check(flavour: Flavour, document: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    for path in texts(document.get("paths")) {
        let checked = path.strip_prefix('~').map(|pattern| Pattern::of_path(flavour, pattern));
        if let Some(Err(reason)) = checked {
            errors.entity(failed(flavour, &reason));
        }
    }
    for (name, values) in document.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let values: Vec<String> = texts(Some(values)).map(str::to_owned).collect();
        if let Err(reason) = HeaderRule::new(flavour, name, &values) {
            errors.entity(failed(flavour, &reason));
        }
    }
    if let Some(text) = document.get("expression").and_then(Value::as_str)
        && let Err(reason) = expression::check(text, is_stream(document))
    {
        errors.entity(failed(flavour, &reason));
    }
    errors
}

fn failed(flavour: Flavour, reason: &str) -> String {
    match flavour {
        Flavour::Traditional => format!("invalid regex: {reason}"),
        Flavour::TraditionalCompatible | Flavour::Expressions => {
            format!("Router Expression failed validation: {reason}")
        }
    }
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_stream(document: &Document) -> bool {
    let stream = ["tcp", "tls", "tls_passthrough", "udp"];
    texts(document.get("protocols")).any(|protocol| stream.contains(&protocol))
}
