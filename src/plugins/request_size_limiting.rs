//! `request-size-limiting`: how large a request's body may be (reference gateway-4, section F.3).

use super::PluginKind;
use super::typedef::flag;
use crate::domain::catalog::PluginSchema;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("request-size-limiting", 951, schema);

fn schema() -> PluginSchema {
    let units = ["megabytes", "kilobytes", "bytes"];
    KIND.describe(Field::record([
        ("allowed_payload_size", Field::integer().default(128)),
        ("size_unit", Field::string().required().default("megabytes").one_of(units)),
        ("require_content_length", flag(false)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_size_is_whole_and_has_a_unit() {
        accepts(&KIND, &[json!({}), json!({"allowed_payload_size": 1, "size_unit": "bytes"})]);
        refuses(
            &KIND,
            &[(
                json!({"allowed_payload_size": 0.5, "size_unit": "gigabytes"}),
                json!({"config": {
                    "allowed_payload_size": "expected an integer",
                    "size_unit": "expected one of: megabytes, kilobytes, bytes",
                }}),
            )],
        );
    }
}
