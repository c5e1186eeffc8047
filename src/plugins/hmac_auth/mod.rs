//! `hmac-auth`: a signature over the request tells who is calling
//! (reference gateway-4, section F.2).

pub mod kind;

use serde_json::json;

use super::PluginKind;
use super::typedef::{flag, texts};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("hmac-auth", 1030, schema);

fn schema() -> PluginSchema {
    let algorithms = ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"];
    KIND.describe(Field::record([
        ("hide_credentials", flag(false)),
        ("clock_skew", Field::number().default(300).gt(0.0)),
        ("anonymous", Field::string()),
        ("validate_request_body", flag(false)),
        ("enforce_headers", texts().default(json!([]))),
        ("algorithms", Field::array(Field::string().one_of(algorithms)).default(json!(algorithms))),
        ("realm", Field::string().optional()),
    ]))
    .field("consumer", typedef::no_consumer())
    .kind(kind::schema())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn algorithms_are_known_and_clocks_may_differ() {
        accepts(&KIND, &[json!({}), json!({"algorithms": ["hmac-sha256"], "clock_skew": 0.5})]);
        let known = "expected one of: hmac-sha1, hmac-sha256, hmac-sha384, hmac-sha512";
        refuses(
            &KIND,
            &[
                (
                    json!({"clock_skew": 0}),
                    json!({"config": {"clock_skew": "value must be greater than 0"}}),
                ),
                (json!({"algorithms": ["hmac-md5"]}), json!({"config": {"algorithms": [known]}})),
            ],
        );
    }
}
