//! `basic-auth`: a name and a password tell who is calling (reference gateway-4, section F.2).

pub mod kind;

use super::PluginKind;
use super::typedef::flag;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("basic-auth", 1100, schema);

fn schema() -> PluginSchema {
    KIND.describe(Field::record([
        ("anonymous", Field::string()),
        ("hide_credentials", flag(false)),
        ("realm", Field::string().required().default("service")),
    ]))
    .field("consumer", typedef::no_consumer())
    .kind(kind::schema())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_realm_is_always_there() {
        accepts(&KIND, &[json!({}), json!({"realm": "r", "anonymous": "guest"})]);
        refuses(
            &KIND,
            &[
                (
                    json!({"realm": Value::Null}),
                    json!({"config": {"realm": "required field missing"}}),
                ),
                (
                    json!({"hide_credentials": "yes"}),
                    json!({"config": {"hide_credentials": "expected a boolean"}}),
                ),
            ],
        );
    }
}
