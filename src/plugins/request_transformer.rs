//! `request-transformer`: changes requests on their way upstream
//! (reference gateway-4, section F.4).

use serde_json::{Value, json};

use super::PluginKind;
use super::typedef::{header_pair, header_rename, plain_header, split_pair};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("request-transformer", 801, schema);

fn schema() -> PluginSchema {
    let list = |element: Field| Field::array(element).required().default(json!([]));
    let parts = |text: fn() -> Field, header: fn() -> Field| {
        [("body", list(text())), ("headers", list(header())), ("querystring", list(text()))]
    };
    let uri = [("uri", Field::string())];
    KIND.describe(Field::record([
        ("http_method", typedef::http_method()),
        ("remove", Field::record(parts(Field::string, plain_header))),
        ("rename", Field::record(parts(pair, header_rename))),
        ("replace", Field::record(parts(pair, header_pair).into_iter().chain(uri))),
        ("add", Field::record(parts(pair, header_pair))),
        ("append", Field::record(parts(pair, header_pair))),
    ]))
    .field("protocols", typedef::protocols())
}

/// The name of an argument and its value.
fn pair() -> Field {
    Field::string().custom(has_value)
}

fn has_value(value: &Value) -> Result<(), String> {
    let (name, value) = split_pair(value);
    let whole = !name.is_empty() && !value.is_empty();
    whole.then_some(()).ok_or_else(|| format!("key '{name}' has no value"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn names_have_values() {
        accepts(
            &KIND,
            &[
                json!({}),
                json!({
                    "http_method": "PUT",
                    "remove": {"headers": ["x-a"], "body": ["a"]},
                    "rename": {"headers": ["x-a:x-b"], "querystring": ["a:b"]},
                    "replace": {"uri": "/x", "headers": ["x-a:$(headers.b)"]},
                    "append": {"querystring": ["a:1:2"]},
                }),
            ],
        );
        let refused = |part: &str, field: &str, text: &str, error: &str| {
            (json!({part: {field: [text]}}), json!({"config": {part: {field: [error]}}}))
        };
        refuses(
            &KIND,
            &[
                refused("add", "body", "a", "key 'a' has no value"),
                refused("add", "querystring", ":1", "key '' has no value"),
                refused("add", "headers", "x-a", "invalid value: x-a"),
                refused("add", "headers", "x a:1", "'x a' is not a valid header"),
                refused("rename", "headers", "x-a:x b", "'x b' is not a valid header"),
                refused("remove", "headers", "x a", "'x a' is not a valid header"),
                (
                    json!({"http_method": "put"}),
                    json!({"config": {"http_method": "invalid value: put"}}),
                ),
            ],
        );
    }
}
