//! What a `rate-limiting` plugin is told, and what is refused.

use serde::Deserialize;
use serde_json::{Value, json};

use super::counters::{ByPeriod, PERIODS};
use crate::domain::canonical::Document;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::Field;

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
    let limit = || Field::number().gt(0.0);
    let flag = |default: bool| Field::boolean().required().default(default);
    let who = ["consumer", "credential", "ip", "service", "header", "path"];
    let config = Field::record([
        ("second", limit()),
        ("minute", limit()),
        ("hour", limit()),
        ("day", limit()),
        ("month", limit()),
        ("year", limit()),
        ("limit_by", Field::string().default("consumer").one_of(who)),
        ("header_name", typedef::header_name()),
        ("path", typedef::path()),
        ("policy", {
            let policies = ["local", "cluster", "redis"];
            Field::string().default("local").len_min(0).one_of(policies).custom(policy)
        }),
        ("fault_tolerant", flag(true)),
        ("redis", redis()),
        ("hide_client_headers", flag(false)),
        ("error_code", Field::number().default(429).gt(0.0).custom(error_code)),
        ("error_message", Field::string().default("API rate limit exceeded")),
        ("sync_rate", Field::number().required().default(-1)),
    ]);
    PluginSchema {
        custom: vec![any_limit, companions],
        rewrite: Some(nest_redis),
        ..super::KIND.describe(config.custom(order))
    }
}

fn redis() -> Field {
    Field::record([
        ("host", typedef::host()),
        ("port", typedef::port().default(6379)),
        ("timeout", Field::integer().default(2000).between(0, 2_147_483_646)),
        ("username", Field::string()),
        ("password", Field::string().len_min(0)),
        ("database", Field::integer().default(0)),
        ("ssl", Field::boolean().default(false)),
        ("ssl_verify", Field::boolean().default(false)),
        ("server_name", typedef::sni()),
    ])
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

/// A longer period cannot have a lower limit (reference gateway-4, section F.3).
fn order(config: &Value) -> Result<(), String> {
    let mut last: Option<(&str, f64)> = None;
    for (name, _) in names() {
        let Some(limit) = config.get(name).and_then(Value::as_f64) else { continue };
        if let Some((shorter, lower)) = last.filter(|(_, lower)| limit < *lower) {
            return Err(format!(
                "The limit for {name}({limit:?}) cannot be lower than the limit for \
                 {shorter}({lower:?})"
            ));
        }
        last = Some((name, limit));
    }
    let policy = config.get("policy").and_then(Value::as_str);
    match config.get("sync_rate").and_then(Value::as_f64) {
        Some(rate) if rate != -1.0 && rate < 0.02 => {
            Err("sync_rate must be greater than 0.02, or -1 to disable".into())
        }
        Some(rate) if rate != -1.0 && policy != Some("redis") => {
            Err("sync_rate can only be used with the redis policy".into())
        }
        _ => Ok(()),
    }
}

/// The fields of the limits, with the words of their headers.
pub(super) fn names() -> impl Iterator<Item = (&'static str, super::counters::Period)> {
    ["second", "minute", "hour", "day", "month", "year"].into_iter().zip(PERIODS)
}

fn any_limit(config: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    if names().all(|(name, _)| config.get(name).is_none_or(Value::is_null)) {
        let fields: Vec<_> = names().map(|(name, _)| format!("'config.{name}'")).collect();
        let fields = fields.join(", ");
        errors.entity(format!("at least one of these fields must be non-empty: {fields}"));
    }
    errors
}

fn companions(config: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    for (value, field) in [("header", "header_name"), ("path", "path")] {
        let chosen = config.get("limit_by").and_then(Value::as_str) == Some(value);
        if chosen && config.get(field).is_none_or(Value::is_null) {
            errors.entity("failed conditional validation given value of field 'config.limit_by'");
            errors.insert_path(&format!("config.{field}"), "required field missing".into());
        }
    }
    errors
}

/// The flat names that were in use before `redis` was a record.
const FLAT: &[&str] = &[
    "host",
    "port",
    "password",
    "username",
    "ssl",
    "ssl_verify",
    "server_name",
    "timeout",
    "database",
];

fn nest_redis(config: &mut Document) -> Result<(), FieldErrors> {
    for field in FLAT {
        let Some(value) = config.remove(&format!("redis_{field}")) else { continue };
        let redis = config.entry("redis").or_insert_with(|| json!({}));
        if let (Value::Object(redis), false) = (redis, value.is_null()) {
            redis.insert((*field).to_owned(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kinds::plugin;

    fn errors(config: Value) -> Value {
        let catalog = crate::plugins::catalog(|_| true);
        let mut document = json!({
            "id": uuid::Uuid::from_u128(1), "name": "rate-limiting", "config": config, "created_at": 1,
            "updated_at": 1,
        });
        let document = document.as_object_mut().unwrap();
        catalog.complete(plugin::KIND, document).unwrap();
        let errors = catalog.validate(plugin::KIND, document);
        errors.err().and_then(FieldErrors::into_value).unwrap_or_default()
    }

    #[test]
    fn refusals_name_their_field() {
        assert_eq!(errors(json!({"second": 1, "hour": 5})), Value::Null);
        assert_eq!(
            errors(json!({}))["@entity"][0],
            "at least one of these fields must be non-empty: 'config.second', 'config.minute', \
             'config.hour', 'config.day', 'config.month', 'config.year'"
        );
        assert_eq!(
            errors(json!({"minute": 10, "hour": 5}))["config"],
            "The limit for hour(5.0) cannot be lower than the limit for minute(10.0)"
        );
        let missing = errors(json!({"minute": 10, "limit_by": "header"}));
        assert_eq!(missing["config"]["header_name"], "required field missing");
        let redis = errors(json!({"minute": 10, "policy": "redis", "redis_host": "r"}));
        assert!(redis["config"]["policy"].as_str().unwrap().contains("expected: local"));
        assert_eq!(
            errors(json!({"minute": 1, "sync_rate": 1}))["config"],
            "sync_rate can only be used with the redis policy"
        );
        let odd = errors(json!({"minute": 1, "error_code": 12}));
        assert_eq!(odd["config"]["error_code"], "expected a status between 200 and 999");
    }

    #[test]
    fn flat_redis_fields_move_into_the_record() {
        let mut config = json!({"minute": 1, "redis_host": "r", "redis_port": 1});
        nest_redis(config.as_object_mut().unwrap()).unwrap();
        assert_eq!(config, json!({"minute": 1, "redis": {"host": "r", "port": 1}}));
    }
}
