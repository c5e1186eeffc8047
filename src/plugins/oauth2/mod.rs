//! `oauth2`: hands out access tokens and asks for them (reference gateway-4, section F.2).

pub mod kind;
pub mod secret;

use serde_json::Value;

use super::PluginKind;
use super::typedef::{flag, texts};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Auto, Check, Field, Match};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("oauth2", 1400, schema);

/// The ways to a token, of which one must be open.
const FLOWS: [&str; 4] = [
    "enable_authorization_code",
    "enable_implicit_grant",
    "enable_client_credentials",
    "enable_password_grant",
];

fn schema() -> PluginSchema {
    let ttl = Field::number().required().default(1_209_600).between(0, 100_000_000);
    let pkce = Field::string().optional().default("lax").one_of(["none", "lax", "strict"]);
    let config = Field::record([
        ("scopes", texts()),
        ("mandatory_scope", flag(false)),
        ("provision_key", Field::string().required().unique().auto(Auto::Secret).encrypted()),
        ("token_expiration", Field::number().required().default(7200)),
        ("enable_authorization_code", flag(false)),
        ("enable_implicit_grant", flag(false)),
        ("enable_client_credentials", flag(false)),
        ("enable_password_grant", flag(false)),
        ("hide_credentials", flag(false)),
        ("accept_http_if_already_terminated", flag(false)),
        ("anonymous", Field::string()),
        ("global_credentials", flag(false)),
        ("auth_header_name", Field::string().default("authorization")),
        ("refresh_token_ttl", ttl),
        ("reuse_refresh_token", flag(false)),
        ("pkce", pkce),
        ("realm", Field::string().optional()),
    ])
    .custom(one_flow)
    .check(Check::conditional(
        "mandatory_scope",
        Match::eq(true),
        "scopes",
        Match::required(),
    ));
    KIND.describe(config)
        .field("consumer", typedef::no_consumer())
        .kind(kind::credentials())
        .kind(kind::tokens())
        .kind(kind::codes())
}

fn one_flow(config: &Value) -> Result<(), String> {
    match FLOWS.iter().any(|flow| config.get(*flow) == Some(&Value::Bool(true))) {
        true => Ok(()),
        false => Err(format!("at least one of these fields must be true: {}", FLOWS.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, completed, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn one_flow_is_open_and_mandatory_scopes_are_named() {
        accepts(
            &KIND,
            &[
                json!({"enable_password_grant": true, "provision_key": "k"}),
                json!({
                    "enable_implicit_grant": true, "mandatory_scope": true, "scopes": ["read"],
                    "provision_key": "k",
                }),
            ],
        );
        refuses(
            &KIND,
            &[
                (
                    json!({"provision_key": "k"}),
                    json!({"config": "at least one of these fields must be true: \
                        enable_authorization_code, enable_implicit_grant, \
                        enable_client_credentials, enable_password_grant"}),
                ),
                (
                    json!({
                        "enable_implicit_grant": true, "mandatory_scope": true,
                        "provision_key": "k", "pkce": "no",
                    }),
                    json!({"config": {
                        "@entity":
                            ["failed conditional validation given value of field 'mandatory_scope'"],
                        "pkce": "expected one of: none, lax, strict",
                        "scopes": "required field missing",
                    }}),
                ),
            ],
        );
    }

    #[test]
    fn a_provision_key_is_made_up() {
        let config = completed(&KIND, json!({"enable_password_grant": true}));
        assert_eq!(config["provision_key"].as_str().map(str::len), Some(32));
    }
}
