//! `udp-log`: sends a datagram for each request (reference gateway-4, section F.5).

use super::PluginKind;
use super::typedef::custom_fields_by_lua;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("udp-log", 8, schema);

fn schema() -> PluginSchema {
    KIND.describe(Field::record([
        ("host", typedef::host().required()),
        ("port", typedef::port().required()),
        ("timeout", Field::number().default(10_000)),
        ("custom_fields_by_lua", custom_fields_by_lua()),
    ]))
    .field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_server_is_named() {
        accepts(&KIND, &[json!({"host": "logs.test", "port": 514})]);
        let missing = "required field missing";
        refuses(&KIND, &[(json!({}), json!({"config": {"host": missing, "port": missing}}))]);
    }
}
