//! What a `rate-limiting` plugin is told, and what is refused.

use serde::Deserialize;
use serde_json::Value;

use super::counters::ByPeriod;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Field, Match};
use crate::plugins::limits;
use crate::plugins::typedef::{flag, redis, with_flat_redis};

/// What a `rate-limiting` plugin is told. A limit is requests in its period.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The limit in a second.
    pub second: Option<f64>,
    /// The limit in a minute.
    pub minute: Option<f64>,
    /// The limit in an hour.
    pub hour: Option<f64>,
    /// The limit in a day.
    pub day: Option<f64>,
    /// The limit in a month.
    pub month: Option<f64>,
    /// The limit in a year.
    pub year: Option<f64>,
    /// Who is counted.
    pub limit_by: Option<LimitBy>,
    /// The header whose value is counted.
    pub header_name: Option<String>,
    /// The path that is counted.
    pub path: Option<String>,
    /// Where counts are kept.
    pub policy: Option<String>,
    /// Whether requests pass while counts cannot be read; those in memory always can.
    pub fault_tolerant: bool,
    /// The store of another policy.
    pub redis: Redis,
    /// Whether clients are told nothing.
    pub hide_client_headers: bool,
    /// The status over the limit.
    pub error_code: Option<f64>,
    /// The message over the limit.
    pub error_message: Option<String>,
    /// How often counts go to a store, in seconds.
    pub sync_rate: f64,
}

impl Config {
    /// Returns the limit of each period.
    pub fn limits(&self) -> ByPeriod<Option<f64>> {
        [self.second, self.minute, self.hour, self.day, self.month, self.year]
    }
}

/// Who is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitBy {
    /// The consumer.
    Consumer,
    /// The credential.
    Credential,
    /// The client's address.
    Ip,
    /// The service.
    Service,
    /// The value of a header.
    Header,
    /// One path.
    Path,
}

/// A Redis server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Its host.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// How long it may take, in milliseconds.
    pub timeout: Option<u64>,
    /// Who logs in.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The number of the database.
    pub database: Option<i64>,
    /// Whether it speaks TLS.
    pub ssl: Option<bool>,
    /// Whether its certificate is checked.
    pub ssl_verify: Option<bool>,
    /// The server name in the handshake.
    pub server_name: Option<String>,
}

/// Returns the schema.
pub(super) fn schema() -> PluginSchema {
    let who = ["consumer", "credential", "ip", "service", "header", "path"];
    let config = Field::record(limits::fields().into_iter().chain([
        ("limit_by", Field::string().default("consumer").one_of(who)),
        ("header_name", typedef::header_name()),
        ("path", typedef::path()),
        ("policy", limits::policy().len_min(0).custom(policy)),
        ("fault_tolerant", flag(true)),
        ("redis", redis()),
        ("hide_client_headers", flag(false)),
        ("error_code", Field::number().default(429).gt(0.0).custom(error_code)),
        ("error_message", Field::string().default("API rate limit exceeded")),
        ("sync_rate", Field::number().required().default(-1)),
    ]))
    .custom(|config| limits::ascending(config, "The").and_then(|()| sync_rate(config)));
    let plugin =
        super::KIND.describe(with_flat_redis(config, super::NAME)).check(Check::AtLeastOneOf(&[
            "config.second",
            "config.minute",
            "config.hour",
            "config.day",
            "config.month",
            "config.year",
        ]));
    let limit_by = |value: &str, field| {
        Check::conditional("config.limit_by", Match::eq(value), field, Match::required())
    };
    limits::with_redis_checks(plugin)
        .check(limit_by("header", "config.header_name"))
        .check(limit_by("path", "config.path"))
}

fn policy(value: &Value) -> Result<(), String> {
    match value.as_str() {
        Some(policy @ ("redis" | "cluster")) => Err(format!(
            "policy '{policy}' is not available: each data plane counts by itself; expected: local"
        )),
        _ => Ok(()),
    }
}

fn error_code(value: &Value) -> Result<(), String> {
    let status = value.as_f64().is_some_and(|n| n.fract() == 0.0 && (200.0..=999.0).contains(&n));
    status.then_some(()).ok_or_else(|| "expected a status between 200 and 999".into())
}

/// Counts go somewhere only if they are kept in Redis.
fn sync_rate(config: &Value) -> Result<(), String> {
    let redis = config.get("policy").and_then(Value::as_str) == Some("redis");
    match config.get("sync_rate").and_then(Value::as_f64) {
        None | Some(-1.0) => Ok(()),
        Some(_) if !redis => Err("sync_rate can only be used with the redis policy".into()),
        Some(rate) if rate < 0.02 => {
            Err("sync_rate must be greater than 0.02, or -1 to disable".into())
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::KIND;
    use super::*;
    use crate::plugins::tests::{accepts, completed, refuses};
    use serde_json::json;

    #[test]
    fn limits_are_asked_for_and_ascend() {
        accepts(
            &KIND,
            &[
                json!({"second": 1, "hour": 5}),
                json!({"minute": 10, "limit_by": "path", "path": "/a"}),
            ],
        );
        let none = "at least one of these fields must be non-empty: 'config.second', \
            'config.minute', 'config.hour', 'config.day', 'config.month', 'config.year'";
        let failed = "failed conditional validation given value of field 'config.limit_by'";
        let unavailable = "policy 'redis' is not available: each data plane counts by itself; \
            expected: local";
        let refused = |config: Value, errors: Value| (config, json!({"config": errors}));
        refuses(
            &KIND,
            &[
                (json!({}), json!({"@entity": [none]})),
                refused(
                    json!({"second": 5, "minute": 10, "hour": 3}),
                    json!("The limit for hour(3.0) cannot be lower than the limit for second(5.0)"),
                ),
                (
                    json!({"minute": 10, "limit_by": "header"}),
                    json!({
                        "@entity": [failed],
                        "config": {"header_name": "required field missing"},
                    }),
                ),
                refused(
                    json!({"minute": 10, "policy": "redis", "redis_host": "r"}),
                    json!({"policy": unavailable}),
                ),
                refused(
                    json!({"minute": 1, "sync_rate": 1}),
                    json!("sync_rate can only be used with the redis policy"),
                ),
                refused(
                    json!({"minute": 1, "error_code": 12}),
                    json!({"error_code": "expected a status between 200 and 999"}),
                ),
            ],
        );
    }

    #[test]
    fn flat_redis_fields_move_into_the_record() {
        let config = completed(&KIND, json!({"minute": 1, "redis_host": "r", "redis_port": 1}));
        assert_eq!((&config["redis"]["host"], &config["redis"]["port"]), (&json!("r"), &json!(1)));
        assert_eq!(config.get("redis_host"), None);
        let both = json!({"minute": 1, "redis_host": "r", "redis": {"host": "s"}});
        let text = "both deprecated and new field are used but their values mismatch: redis_host \
            = r vs redis.host = s";
        refuses(&KIND, &[(both, json!({"redis_host": text}))]);
    }
}
