//! `jwt`: a signed token tells who is calling (reference gateway-4, section F.2).

pub mod kind;

use serde_json::json;

use super::PluginKind;
use super::typedef::flag;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Field, Match};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("jwt", 1450, schema);

fn schema() -> PluginSchema {
    let names = |default| Field::set(Field::string()).default(default);
    KIND.describe(Field::record([
        ("uri_param_names", names(json!(["jwt"]))),
        ("cookie_names", names(json!([]))),
        ("key_claim_name", Field::string().default("iss")),
        ("secret_is_base64", flag(false)),
        ("claims_to_verify", Field::set(Field::string().one_of(["exp", "nbf"]))),
        ("anonymous", Field::string()),
        ("run_on_preflight", flag(true)),
        ("maximum_expiration", Field::number().default(0).between(0, 31_536_000)),
        ("header_names", names(json!(["authorization"]))),
        ("realm", Field::string().optional()),
    ]))
    .field("consumer", typedef::no_consumer())
    .kind(kind::schema())
    .check(Check::conditional(
        "config.maximum_expiration",
        Match::gt(0.0),
        "config.claims_to_verify",
        Match::contains("exp"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn a_bound_on_the_expiry_asks_to_verify_it() {
        accepts(
            &KIND,
            &[
                json!({}),
                json!({"maximum_expiration": 60, "claims_to_verify": ["nbf", "exp"]}),
                json!({"claims_to_verify": ["nbf"]}),
            ],
        );
        let failed =
            "failed conditional validation given value of field 'config.maximum_expiration'";
        refuses(
            &KIND,
            &[
                (
                    json!({"maximum_expiration": 60, "claims_to_verify": ["nbf"]}),
                    json!({
                        "@entity": [failed],
                        "config": {"claims_to_verify": "expected to contain: exp"},
                    }),
                ),
                (
                    json!({"maximum_expiration": -1}),
                    json!({"config": {
                        "maximum_expiration": "value should be between 0 and 31536000",
                    }}),
                ),
                (
                    json!({"claims_to_verify": ["exp", "aud"]}),
                    json!({"config": {"claims_to_verify": [null, "expected one of: exp, nbf"]}}),
                ),
            ],
        );
    }
}
