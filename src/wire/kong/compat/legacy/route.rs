//! Routes: 2.8 has what 3.x calls the flavour `traditional`, and other words for patterns.

use serde_json::Value;

use super::path::{self, Told};
use super::pattern;
use crate::domain::canonical::Document;
use crate::domain::kinds::route::Flavour;

/// Before a prefix that is said as a pattern: its length is added. 2.8 prefers patterns to
/// prefixes, the longer of which it prefers; so they go behind all patterns that are some, in the
/// order of prefixes. A longer prefix of the same request has the same signs in it, and goes before.
const SPELT_PRIORITY: i64 = -1_000_000_000_000;

/// Changes one route.
///
/// # Errors
///
/// 2.8 cannot do the same.
pub(super) fn translate(flavour: Flavour, row: &mut Document) -> Result<(), String> {
    if row.remove("expression").is_some_and(|value| !value.is_null()) {
        return Err("it has an expression, which 2.8 does not know".to_owned());
    }
    row.remove("priority");
    // The other flavours never look at it.
    if flavour != Flavour::Traditional && row.contains_key("path_handling") {
        row.insert("path_handling".to_owned(), "v0".into());
    }
    check_headers(row)?;
    if texts(row, "snis").any(|sni| sni.contains('*')) {
        return Err("'snis' has a wildcard, which 2.8 does not know".to_owned());
    }
    let told = texts(row, "paths").map(path::tell).collect::<Result<Vec<_>, _>>()?;
    if told.is_empty() {
        return Ok(());
    }
    if let Some(priority) = priority(&told)? {
        row.insert("regex_priority".to_owned(), priority.into());
    }
    let text = |told| match told {
        Told::Prefix(text) | Told::Spelt(text, _) | Told::Pattern(text) => Value::from(text),
    };
    row.insert("paths".to_owned(), told.into_iter().map(text).collect());
    Ok(())
}

fn texts<'d>(row: &'d Document, field: &str) -> impl Iterator<Item = &'d str> {
    row.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Returns the priority of patterns that keeps the order of prefixes that became some, if there are
/// any: a route has one for all its paths.
fn priority(told: &[Told]) -> Result<Option<i64>, String> {
    let mut lengths = told.iter().filter_map(|told| match told {
        Told::Spelt(_, len) => Some(*len),
        Told::Prefix(_) | Told::Pattern(_) => None,
    });
    let Some(first) = lengths.next() else { return Ok(None) };
    if told.iter().any(|told| matches!(told, Told::Pattern(_))) || lengths.any(|it| it != first) {
        return Err(
            "'paths' has a prefix with signs that 2.8 takes for a pattern, beside a pattern \
                    or another such prefix of another length, which it would rank otherwise; \
                    make them routes of their own"
                .to_owned(),
        );
    }
    Ok(Some(SPELT_PRIORITY.saturating_add(i64::try_from(first).unwrap_or_default())))
}

/// `~*` before the only value of a header is a pattern in 2.8 too; before one of several it is not.
fn check_headers(row: &Document) -> Result<(), String> {
    let headers = row.get("headers").and_then(Value::as_object).into_iter().flatten();
    for (name, values) in headers {
        let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
        for value in values.iter().filter_map(Value::as_str) {
            let Some(pattern) = value.strip_prefix("~*") else { continue };
            if values.len() > 1 {
                return Err(format!("'headers.{name}' has a pattern beside other values"));
            }
            if let Err(why) = pattern::check_value(pattern) {
                return Err(format!("the pattern of 'headers.{name}' {why}"));
            }
        }
    }
    Ok(())
}
