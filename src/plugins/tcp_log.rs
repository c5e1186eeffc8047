//! `tcp-log`: sends a line for each request to a TCP server (reference gateway-4, section F.5).

use super::PluginKind;
use super::typedef::{custom_fields_by_lua, flag, log_server};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("tcp-log", 7, schema);

fn schema() -> PluginSchema {
    let config = Field::record(log_server().into_iter().chain([
        ("keepalive", Field::number().default(60_000)),
        ("tls", flag(false)),
        ("tls_sni", Field::string()),
        ("custom_fields_by_lua", custom_fields_by_lua()),
    ]));
    KIND.describe(config).field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_server_is_named() {
        accepts(&KIND, &[json!({"host": "10.0.0.1", "port": 5140, "tls": true})]);
        refuses(
            &KIND,
            &[(
                json!({"host": "a.test", "port": 65_536}),
                json!({"config": {"port": "value should be between 0 and 65535"}}),
            )],
        );
    }
}
