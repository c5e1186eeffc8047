//! Reading expressions: bounded, then parsed and checked by `atc-router`.

use std::sync::LazyLock;

use atc_router::ast::{
    BinaryOperator, Expression as Parsed, LogicalExpression, Predicate, Type, Value,
};
use atc_router::schema::Schema;
use atc_router::semantics::Validate as _;

use super::Node;
use super::field::Field;
use super::test::{Operator, Test};
use crate::router::net::Network;
use crate::router::pattern;

/// How long an expression may be, in bytes.
const LENGTH_MAX: usize = 64 << 10;

/// How deep parentheses may nest, and how many comparisons there may be: the parser is recursive.
const DEPTH_MAX: usize = 64;
const TESTS_MAX: usize = 512;

/// Checks an expression of a route for HTTP or for streams. The error is the text that Kong has
/// behind `Router Expression failed validation: `.
pub(in crate::router) fn check(text: &str, stream: bool) -> Result<(), String> {
    parse(text, stream).map(drop)
}

/// Parses an expression.
pub(super) fn parse(text: &str, stream: bool) -> Result<Node, String> {
    bound(text)?;
    let parsed = atc_router::parser::parse(text).map_err(|error| error.to_string())?;
    parsed.validate(if stream { &STREAM } else { &HTTP })?;
    node(&parsed)
}

static HTTP: LazyLock<Schema> = LazyLock::new(|| {
    let mut schema = net_fields();
    for text in ["http.method", "http.host", "http.path", "http.path.segments.*"] {
        schema.add_field(text, Type::String);
    }
    schema.add_field("http.headers.*", Type::String);
    schema.add_field("http.queries.*", Type::String);
    schema.add_field("http.path.segments.len", Type::Int);
    schema
});

static STREAM: LazyLock<Schema> = LazyLock::new(net_fields);

fn net_fields() -> Schema {
    let mut schema = Schema::default();
    for text in ["net.protocol", "tls.sni"] {
        schema.add_field(text, Type::String);
    }
    for number in ["net.src.port", "net.dst.port", "net.port"] {
        schema.add_field(number, Type::Int);
    }
    for address in ["net.src.ip", "net.dst.ip"] {
        schema.add_field(address, Type::IpAddr);
    }
    schema
}

/// Refuses what could exhaust a recursive parser.
fn bound(text: &str) -> Result<(), String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("an expression may have {LENGTH_MAX} bytes"));
    }
    let (mut depth, mut deepest, mut tests) = (0_usize, 0, 1);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let end = match next {
            '"' => after_text(rest),
            'r' if rest.starts_with("r#\"") => rest.find("\"#").map_or(rest.len(), |at| at + 2),
            _ => next.len_utf8(),
        };
        match next {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '&' | '|' => tests += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
        rest = rest.get(end..).unwrap_or_default();
    }
    if deepest > DEPTH_MAX {
        return Err(format!("parentheses may nest {DEPTH_MAX} deep"));
    }
    if tests / 2 > TESTS_MAX {
        return Err(format!("an expression may have {TESTS_MAX} comparisons"));
    }
    Ok(())
}

/// Returns where the text ends that begins with a quote.
fn after_text(text: &str) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn node(parsed: &Parsed) -> Result<Node, String> {
    let logical = match parsed {
        Parsed::Predicate(predicate) => return test(predicate).map(Node::Test),
        Parsed::Logical(logical) => &**logical,
    };
    Ok(match logical {
        LogicalExpression::And(left, right) => {
            let mut parts = Vec::new();
            for part in [node(left)?, node(right)?] {
                match part {
                    Node::All(more) => parts.extend(more),
                    part => parts.push(part),
                }
            }
            Node::All(parts)
        }
        LogicalExpression::Or(left, right) => {
            let mut parts = Vec::new();
            for part in [node(left)?, node(right)?] {
                match part {
                    Node::Any(more) => parts.extend(more),
                    part => parts.push(part),
                }
            }
            Node::Any(parts)
        }
        LogicalExpression::Not(part) => Node::Not(Box::new(node(part)?)),
    })
}

fn test(predicate: &Predicate) -> Result<Test, String> {
    let (lower, any) = predicate.lhs.get_transformations();
    let field = Field::named(&predicate.lhs.var_name)?;
    let operator = operator(&predicate.op, &predicate.rhs)
        .ok_or("Type mismatch between the LHS and RHS values of predicate")??;
    Ok(Test { field, lower, any, operator })
}

fn operator(operator: &BinaryOperator, value: &Value) -> Option<Result<Operator, String>> {
    use BinaryOperator as Is;
    Some(Ok(match (operator, value) {
        (Is::Equals, Value::String(text)) => Operator::Text(text.as_str().into()),
        (Is::Equals, Value::Int(number)) => Operator::Number(*number),
        (Is::Equals, Value::IpAddr(ip)) => Operator::Address(*ip),
        (Is::NotEquals, Value::String(text)) => Operator::NotText(text.as_str().into()),
        (Is::NotEquals, Value::Int(number)) => Operator::NotNumber(*number),
        (Is::NotEquals, Value::IpAddr(ip)) => Operator::NotAddress(*ip),
        (Is::Regex, Value::Regex(regex)) => {
            // Compiled anew: within the size that one may have.
            return Some(pattern::compile(regex.as_str()).map(Operator::Pattern));
        }
        (Is::Prefix, Value::String(text)) => Operator::Prefix(text.as_str().into()),
        (Is::Postfix, Value::String(text)) => Operator::Suffix(text.as_str().into()),
        (Is::Contains, Value::String(text)) => Operator::Contains(text.as_str().into()),
        (Is::Greater, Value::Int(number)) => Operator::Greater(*number),
        (Is::GreaterOrEqual, Value::Int(number)) => Operator::GreaterOrEqual(*number),
        (Is::Less, Value::Int(number)) => Operator::Less(*number),
        (Is::LessOrEqual, Value::Int(number)) => Operator::LessOrEqual(*number),
        (Is::In, Value::IpCidr(range)) => {
            Operator::In(Network::new(range.first_address(), range.network_length()))
        }
        (Is::NotIn, Value::IpCidr(range)) => {
            Operator::NotIn(Network::new(range.first_address(), range.network_length()))
        }
        _ => return None,
    }))
}
