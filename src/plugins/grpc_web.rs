//! `grpc-web`: lets browsers call gRPC services (reference gateway-4, section F.4).

use super::PluginKind;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("grpc-web", 3, schema);

fn schema() -> PluginSchema {
    KIND.describe(Field::record([
        ("proto", Field::string().optional()),
        ("pass_stripped_path", Field::boolean().optional()),
        ("allow_origin_header", Field::string().optional().default("*")),
    ]))
    .field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, completed, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn any_origin_may_call_unless_told() {
        accepts(&KIND, &[json!({}), json!({"proto": "/p", "pass_stripped_path": true})]);
        assert_eq!(completed(&KIND, json!({}))["allow_origin_header"], "*");
        refuses(&KIND, &[(json!({"proto": 1}), json!({"config": {"proto": "expected a string"}}))]);
    }
}
