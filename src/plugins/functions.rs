//! What `pre-function` and `post-function` have in common: Lua code for each phase
//! (reference gateway-4, section F.4). There is no Lua here to parse it.

use serde_json::json;

use super::PluginKind;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Field};

/// Describes one of the two.
pub(super) fn schema(kind: &PluginKind) -> PluginSchema {
    let code = || Field::array(Field::string().optional()).required().default(json!([]));
    kind.describe(Field::record([
        ("certificate", code()),
        ("rewrite", code()),
        ("access", code()),
        ("header_filter", code()),
        ("body_filter", code()),
        ("log", code()),
    ]))
    .field("consumer", typedef::no_consumer())
    .field("protocols", typedef::protocols())
    .check(Check::AtLeastOneOf(&[
        "config.certificate",
        "config.rewrite",
        "config.access",
        "config.header_filter",
        "config.body_filter",
        "config.log",
    ]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::super::{post_function, pre_function};
    use super::*;

    #[test]
    fn code_is_asked_for() {
        for kind in [&pre_function::KIND, &post_function::KIND] {
            accepts(kind, &[json!({"access": ["return true"]}), json!({"log": ["a()", "b()"]})]);
            let none = "at least one of these fields must be non-empty: 'config.certificate', \
                'config.rewrite', 'config.access', 'config.header_filter', 'config.body_filter', \
                'config.log'";
            refuses(
                kind,
                &[
                    (json!({}), json!({"@entity": [none]})),
                    (
                        json!({"access": "return true"}),
                        json!({"config": {"access": "expected an array"}}),
                    ),
                ],
            );
        }
    }
}
