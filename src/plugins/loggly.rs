//! `loggly`: sends a line for each request to Loggly (reference gateway-4, section F.5).

use serde_json::json;

use super::PluginKind;
use super::typedef::{custom_fields_by_lua, severity};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("loggly", 6, schema);

fn schema() -> PluginSchema {
    KIND.describe(Field::record([
        ("host", typedef::host().default("logs-01.loggly.com")),
        ("port", typedef::port().default(514)),
        ("key", Field::string().required().encrypted().referenceable()),
        ("tags", Field::set(Field::string()).default(json!(["kong"]))),
        ("log_level", severity()),
        ("successful_severity", severity()),
        ("client_errors_severity", severity()),
        ("server_errors_severity", severity()),
        ("timeout", Field::number().default(10_000)),
        ("custom_fields_by_lua", custom_fields_by_lua()),
    ]))
    .field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn a_key_is_asked_for() {
        accepts(&KIND, &[json!({"key": "{vault://env/loggly}"}), json!({"key": "k", "tags": []})]);
        refuses(
            &KIND,
            &[(
                json!({"port": -1}),
                json!({"config": {
                    "key": "required field missing",
                    "port": "value should be between 0 and 65535",
                }}),
            )],
        );
    }
}
