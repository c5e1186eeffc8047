//! `ldap-auth`: a directory server tells who is calling (reference gateway-4, section F.2).

use super::PluginKind;
use super::typedef::flag;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Field, Match};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("ldap-auth", 1200, schema);

fn schema() -> PluginSchema {
    let both = "'ldaps' and 'start_tls' cannot be enabled simultaneously";
    let one_tls = Check::conditional("ldaps", Match::eq(true), "start_tls", Match::eq(false));
    let config = Field::record([
        ("ldap_host", typedef::host().required()),
        ("ldap_port", typedef::port().required().default(389)),
        ("ldaps", flag(false)),
        ("start_tls", flag(false)),
        ("verify_ldap_host", flag(false)),
        ("base_dn", Field::string().required()),
        ("attribute", Field::string().required()),
        ("cache_ttl", Field::number().required().default(60)),
        ("hide_credentials", flag(false)),
        ("timeout", Field::number().default(10_000)),
        ("keepalive", Field::number().default(60_000)),
        ("anonymous", Field::string()),
        ("header_type", Field::string().default("ldap")),
        ("realm", Field::string().optional()),
    ]);
    KIND.describe(config.check(one_tls.err(both))).field("consumer", typedef::no_consumer())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_server_is_named_and_reached_one_way() {
        let with = |more: Value| {
            let mut config =
                json!({"ldap_host": "ldap.test", "base_dn": "dc=test", "attribute": "cn"});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            config
        };
        accepts(&KIND, &[with(json!({})), with(json!({"ldaps": true, "ldap_port": 636}))]);
        refuses(
            &KIND,
            &[
                (
                    json!({"ldap_host": "ldap.test:389"}),
                    json!({"config": {
                        "attribute": "required field missing",
                        "base_dn": "required field missing",
                        "ldap_host": "must not have a port",
                    }}),
                ),
                (
                    with(json!({"ldaps": true, "start_tls": true})),
                    json!({"config": {
                        "@entity": ["'ldaps' and 'start_tls' cannot be enabled simultaneously"],
                        "start_tls": "value must be false",
                    }}),
                ),
            ],
        );
    }
}
