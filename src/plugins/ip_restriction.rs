//! `ip-restriction`: which addresses may call (reference gateway-4, section F.3).

use serde_json::json;

use super::PluginKind;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Field};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("ip-restriction", 990, schema);

fn schema() -> PluginSchema {
    let addresses = || Field::array(typedef::ip_or_cidr());
    let protocols =
        typedef::protocols().default(json!(["http", "https", "tcp", "tls", "grpc", "grpcs"]));
    KIND.describe(Field::record([
        ("allow", addresses()),
        ("deny", addresses()),
        ("status", Field::number().optional()),
        ("message", Field::string().optional()),
    ]))
    .field("protocols", protocols)
    .check(Check::AtLeastOneOf(&["config.allow", "config.deny"]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn addresses_are_asked_for() {
        accepts(
            &KIND,
            &[json!({"allow": ["10.0.0.0/8", "::1"]}), json!({"deny": ["1.2.3.4"], "allow": []})],
        );
        refuses(
            &KIND,
            &[
                (
                    json!({"allow": []}),
                    json!({"@entity": ["at least one of these fields must be non-empty: \
                        'config.allow', 'config.deny'"]}),
                ),
                (
                    json!({"deny": ["10.0.0.0/33"]}),
                    json!({"config": {"deny": ["invalid ip or cidr range: '10.0.0.0/33'"]}}),
                ),
            ],
        );
    }
}
