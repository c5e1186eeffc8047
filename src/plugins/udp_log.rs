//! `udp-log`: sends a datagram for each request (reference gateway-4, section F.5).

use super::PluginKind;
use super::typedef::{custom_fields_by_lua, log_server};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("udp-log", 8, schema);

fn schema() -> PluginSchema {
    let custom = [("custom_fields_by_lua", custom_fields_by_lua())];
    let config = Field::record(log_server().into_iter().chain(custom));
    KIND.describe(config).field("protocols", typedef::protocols())
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
