//! Fields, and groups of fields, that the configs of several plugins share
//! (reference gateway-4, sections F.3 to F.5).

use serde_json::Value;

use crate::domain::entity::Kind;
use crate::domain::kinds::consumer;
use crate::domain::kinds::typedef::{self, text};
use crate::domain::schema::{Auto, Check, Deprecation, Field, Match, OnDelete, Schema, Shorthand};

/// Starts the schema of what a consumer shows: found by its key, gone with its consumer. `paths`
/// are its collection's path at the top and under a consumer.
pub fn credential(
    kind: Kind,
    paths: (&'static str, &'static str),
    key: &'static [&'static str; 1],
) -> Schema {
    let [name] = *key;
    Schema::new(kind)
        .paths(paths.0, paths.1)
        .endpoint_key(name)
        .cache_key(key)
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("consumer", Field::foreign(consumer::KIND, OnDelete::Cascade).required())
}

/// A switch that is always on or off.
pub fn flag(default: bool) -> Field {
    Field::boolean().required().default(default)
}

/// An array of texts.
pub fn texts() -> Field {
    Field::array(Field::string())
}

/// How long a step may take, in milliseconds.
pub fn timeout() -> Field {
    Field::integer().between(0, 2_147_483_646)
}

/// The URL of a server.
pub fn url() -> Field {
    text(|text| {
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, text),
        };
        let authority = rest.strip_prefix("//").unwrap_or_default();
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.split_once('@').map_or(authority, |(_, host)| host);
        match (host.split(':').next(), scheme) {
            (None | Some(""), _) => Err("missing host in url".into()),
            (_, None) => Err("missing scheme in url".into()),
            _ => Ok(()),
        }
    })
}

fn is_scheme(text: &str) -> bool {
    let rest = text.strip_prefix(|first: char| first.is_ascii_alphanumeric());
    rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)))
}

/// A server to which log lines are sent.
pub fn log_server() -> [(&'static str, Field); 3] {
    [
        ("host", typedef::host().required()),
        ("port", typedef::port().required()),
        ("timeout", Field::number().default(10_000)),
    ]
}

/// Names of log fields, each with the Lua code of its value. There is no Lua here to parse it.
pub fn custom_fields_by_lua() -> Field {
    Field::map(Field::string().len_min(1), Field::string().len_min(1))
}

/// How grave a log line is, in syslog's words.
pub fn severity() -> Field {
    let words = ["debug", "info", "notice", "warning", "err", "crit", "alert", "emerg"];
    Field::string().default("info").one_of(words)
}

/// Returns whether Kong has a memory zone of this name; here there are none, but names are checked.
pub fn is_memory_zone(name: &str) -> bool {
    const ZONES: &[&str] = &[
        "kong",
        "kong_locks",
        "kong_cluster_events",
        "kong_healthchecks",
        "kong_rate_limiting_counters",
        "kong_core_db_cache",
        "kong_core_db_cache_miss",
        "kong_db_cache",
        "kong_db_cache_miss",
        "kong_secrets",
        "prometheus_metrics",
    ];
    ZONES.contains(&name)
}

/// A Redis server.
pub fn redis() -> Field {
    Field::record(redis_fields())
}

/// The fields of a Redis server.
pub fn redis_fields() -> [(&'static str, Field); 9] {
    [
        ("host", typedef::host()),
        ("port", typedef::port().default(6379)),
        ("timeout", timeout().default(2000)),
        ("username", Field::string().referenceable()),
        ("password", Field::string().len_min(0).encrypted().referenceable()),
        ("database", Field::integer().default(0)),
        ("ssl", Field::boolean().optional().default(false)),
        ("ssl_verify", Field::boolean().optional().default(false)),
        ("server_name", typedef::sni().optional()),
    ]
}

/// Adds the flat names that were in use before `redis` was a record.
pub fn with_flat_redis(config: Field, plugin: &str) -> Field {
    type Path = &'static [&'static str];
    let flat: [(&str, Field, Path); 9] = [
        ("redis_host", Field::string(), &["redis", "host"]),
        ("redis_port", Field::integer(), &["redis", "port"]),
        ("redis_password", Field::string().len_min(0), &["redis", "password"]),
        ("redis_username", Field::string(), &["redis", "username"]),
        ("redis_ssl", Field::boolean(), &["redis", "ssl"]),
        ("redis_ssl_verify", Field::boolean(), &["redis", "ssl_verify"]),
        ("redis_server_name", Field::string(), &["redis", "server_name"]),
        ("redis_timeout", Field::integer(), &["redis", "timeout"]),
        ("redis_database", Field::integer(), &["redis", "database"]),
    ];
    flat.into_iter().fold(config, |config, (name, field, path)| {
        let message = renamed(plugin, name, &path.join("."));
        config.shorthand(Shorthand::renamed(name, field, path, message))
    })
}

/// Says which field of a plugin's config took the place of another.
pub fn renamed(plugin: &str, old: &str, new: &str) -> String {
    format!("{plugin}: config.{old} is deprecated, please use config.{new} instead")
}

/// How records wait to be sent.
pub fn queue() -> Field {
    let delay = || Field::number().within(0.001, 1_000_000.0);
    Field::record([
        ("max_batch_size", Field::integer().default(1).between(1, 1_000_000)),
        ("max_coalescing_delay", Field::number().default(1).between(0, 3600)),
        ("max_entries", Field::integer().default(10_000).between(1, 1_000_000)),
        ("max_bytes", Field::integer()),
        ("max_retry_time", Field::number().default(60)),
        ("initial_retry_delay", delay().default(0.01)),
        ("max_retry_delay", delay().default(60)),
        ("concurrency_limit", Field::integer().default(1).one_of([-1, 1])),
    ])
}

/// The fields that were in use before `queue` was a record.
pub fn queue_forerunners(plugin: &str) -> [(&'static str, Field); 3] {
    let dead = format!(
        "{plugin}: config.retry_count no longer works, please use config.queue.max_retry_time \
         instead"
    );
    let old = |field: Field, message: String, default: i64| {
        field.deprecated(Deprecation::new(message).old_default(default))
    };
    let batch = renamed(plugin, "queue_size", "queue.max_batch_size");
    let delay = renamed(plugin, "flush_timeout", "queue.max_coalescing_delay");
    [
        ("retry_count", old(Field::integer(), dead, 10)),
        ("queue_size", old(Field::integer(), batch, 1)),
        ("flush_timeout", old(Field::number(), delay, 2)),
    ]
}

/// The headers in which a trace comes in and goes out.
pub fn propagation(default_format: &str) -> Field {
    let extracted = ["b3", "gcp", "jaeger", "aws", "ot", "w3c", "datadog"];
    let injected = ["b3", "gcp", "b3-single", "jaeger", "aws", "ot", "w3c", "datadog"];
    let or_kept = std::iter::once("preserve").chain(injected);
    Field::record([
        ("extract", Field::array(Field::string().one_of(extracted))),
        ("clear", Field::array(typedef::header_name())),
        ("inject", Field::array(Field::string().one_of(or_kept))),
        ("default_format", Field::string().required().one_of(injected)),
    ])
    .required()
    .default(serde_json::json!({"default_format": default_format}))
}

/// Which field of a consumer a metric names it by.
pub fn consumer_identifier() -> Field {
    Field::string().one_of(["consumer_id", "custom_id", "username"])
}

/// What a counter or gauge cannot do without.
pub fn sampled() -> Check {
    let counted = Match::one_of(["counter", "gauge"]);
    Check::conditional("stat_type", counted, "sample_rate", Match::required())
}

/// A header and its value, or its new name: `name:value`.
pub fn header_pair() -> Field {
    pair_text().custom(|value| valid_header(split_pair(value).0))
}

/// A header and its new name: `name:name`.
pub fn header_rename() -> Field {
    pair_text().custom(|value| {
        let (old, new) = split_pair(value);
        valid_header(old).and_then(|()| valid_header(new))
    })
}

/// A text with a colon behind its first part.
pub fn pair_text() -> Field {
    Field::string().matches("^[^:]+:.*$")
}

/// The name of a header, in the transformers' words.
pub fn plain_header() -> Field {
    Field::string().custom(|value| valid_header(split_pair(value).0))
}

/// Returns what stands before and behind the first colons of a text.
pub fn split_pair(value: &Value) -> (&str, &str) {
    let text = value.as_str().unwrap_or_default();
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    (name, rest.trim_start_matches(':'))
}

fn valid_header(name: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let valid = !name.is_empty() && name.bytes().all(good);
    valid.then_some(()).ok_or_else(|| format!("'{name}' is not a valid header"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{UnknownNull, check_value};

    #[test]
    fn a_url_has_scheme_and_host() {
        for (text, error) in [
            ("http://a", None),
            ("https://user:key@a.test:8080/p?q#f", None),
            ("h2+x://[::1]:80", None),
            ("a.test/p", Some("missing host in url")),
            ("http:a", Some("missing host in url")),
            ("http://:80/", Some("missing host in url")),
            ("//a/p", Some("missing scheme in url")),
        ] {
            let found = check_value(&url(), &text.into(), UnknownNull::Refuse);
            assert_eq!(found, error.map(Value::from), "{text}");
        }
    }

    #[test]
    fn a_pair_is_split_at_its_first_colons() {
        for (text, parts) in [("a:b:c", ("a", "b:c")), ("a::b", ("a", "b")), ("a", ("a", ""))] {
            assert_eq!(split_pair(&text.into()), parts);
        }
    }
}
