//! `response-transformer`: changes answers on their way to the client
//! (reference gateway-4, section F.4).

use serde_json::json;

use super::PluginKind;
use super::typedef::{header_rename, pair_text};
use crate::domain::catalog::PluginSchema;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("response-transformer", 800, schema);

fn schema() -> PluginSchema {
    let list = |element: Field| Field::array(element).required().default(json!([]));
    let change = || {
        let types = Field::string().one_of(["boolean", "number", "string"]);
        Field::record([
            ("json", list(pair_text())),
            ("json_types", list(types)),
            ("headers", list(pair_text())),
        ])
    };
    let remove = [("json", list(Field::string())), ("headers", list(Field::string()))];
    let rename = [("json", list(pair_text())), ("headers", list(header_rename()))];
    KIND.describe(Field::record([
        ("remove", Field::record(remove)),
        ("rename", Field::record(rename)),
        ("replace", change()),
        ("add", change()),
        ("append", change()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn changes_are_pairs() {
        accepts(
            &KIND,
            &[
                json!({}),
                json!({
                    "remove": {"json": ["a"], "headers": ["x-a"]},
                    "rename": {"json": ["a:b"], "headers": ["x-a:x-b"]},
                    "add": {"json": ["n:1"], "json_types": ["number"], "headers": ["x a:anything"]},
                }),
            ],
        );
        let refused = |part: &str, field: &str, text: &str, error: &str| {
            (json!({part: {field: [text]}}), json!({"config": {part: {field: [error]}}}))
        };
        refuses(
            &KIND,
            &[
                refused("add", "json", "a", "invalid value: a"),
                refused("append", "json_types", "null", "expected one of: boolean, number, string"),
                refused("rename", "headers", "x-a:x b", "'x b' is not a valid header"),
            ],
        );
    }
}
