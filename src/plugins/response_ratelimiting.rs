//! `response-ratelimiting`: limits what answers say that they cost
//! (reference gateway-4, section F.3).

use super::typedef::{flag, redis, with_flat_redis};
use super::{PluginKind, limits};
use crate::domain::catalog::PluginSchema;
use crate::domain::schema::{Check, Field};

const NAME: &str = "response-ratelimiting";

/// The plugin.
pub const KIND: PluginKind = PluginKind::new(NAME, 900, schema);

fn schema() -> PluginSchema {
    let limit = Field::record(limits::fields())
        .required()
        .custom(|limit| limits::ascending(limit, "the"))
        .check(Check::AtLeastOneOf(&limits::PERIODS));
    let who = ["consumer", "credential", "ip"];
    let config = Field::record([
        ("header_name", Field::string().default("x-kong-limit")),
        ("limit_by", Field::string().default("consumer").one_of(who)),
        ("policy", limits::policy()),
        ("fault_tolerant", flag(true)),
        ("redis", redis()),
        ("block_on_first_violation", flag(false)),
        ("hide_client_headers", flag(false)),
        ("limits", Field::map(Field::string(), limit).required().len_min(1)),
    ]);
    limits::with_redis_checks(KIND.describe(with_flat_redis(config, NAME)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_limit_has_a_period() {
        let limits = |limits: Value| json!({"limits": limits});
        accepts(
            &KIND,
            &[
                limits(json!({"video": {"minute": 10, "hour": 100}})),
                json!({"limits": {"v": {"day": 1}}, "policy": "redis", "redis_host": "r.test"}),
            ],
        );
        let none = "at least one of these fields must be non-empty: 'second', 'minute', 'hour', \
            'day', 'month', 'year'";
        let lower = "the limit for hour(5.0) cannot be lower than the limit for minute(10.0)";
        let mut redis = limits(json!({"v": {"day": 1}}));
        redis["policy"] = json!("redis");
        refuses(
            &KIND,
            &[
                (json!({}), json!({"config": {"limits": "required field missing"}})),
                (limits(json!({})), json!({"config": {"limits": "length must be at least 1"}})),
                (limits(json!({"v": {}})), json!({"config": {"limits": {"@entity": [none]}}})),
                (
                    limits(json!({"v": {"minute": 10, "hour": 5}})),
                    json!({"config": {"limits": lower}}),
                ),
                (
                    redis,
                    json!({
                        "@entity": ["failed conditional validation given value of field \
                            'config.policy'"],
                        "config": {"redis": {"host": "required field missing"}},
                    }),
                ),
            ],
        );
    }
}
