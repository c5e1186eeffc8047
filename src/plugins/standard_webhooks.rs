//! `standard-webhooks`: checks the signature of incoming webhooks
//! (reference gateway-4, section F.4).

use super::PluginKind;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("standard-webhooks", 760, schema);

fn schema() -> PluginSchema {
    KIND.describe(Field::record([
        ("secret_v1", Field::string().required().encrypted().referenceable()),
        ("tolerance_second", Field::integer().required().default(300).gt(-1.0)),
    ]))
    .field("consumer", typedef::no_consumer())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_asked_for() {
        accepts(
            &KIND,
            &[
                json!({"secret_v1": "{vault://env/webhooks}"}),
                json!({"secret_v1": "s", "tolerance_second": 0}),
            ],
        );
        refuses(
            &KIND,
            &[(
                json!({"tolerance_second": -1}),
                json!({"config": {
                    "secret_v1": "required field missing",
                    "tolerance_second": "value must be greater than -1",
                }}),
            )],
        );
    }
}
