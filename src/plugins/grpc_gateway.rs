//! `grpc-gateway`: calls gRPC services for clients that speak JSON
//! (reference gateway-4, section F.4).

use super::PluginKind;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("grpc-gateway", 998, schema);

fn schema() -> PluginSchema {
    KIND.describe(Field::record([("proto", Field::string().optional())]))
        .field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_describes_the_service() {
        accepts(&KIND, &[json!({}), json!({"proto": "/etc/hello.proto"})]);
        let unknown = json!({"config": {"protos": "unknown field"}});
        refuses(&KIND, &[(json!({"protos": "x"}), unknown)]);
    }
}
