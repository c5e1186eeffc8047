//! Plugins: the fields of those that both have, where they differ.

use serde_json::{Value, json};

use super::super::downgrade::{Says, record, text};
use super::super::rule::Plain::{Empty, No, Number, Text};
use super::super::rule::{Rule, restrict_http};
use super::LEVEL;
use crate::domain::canonical::Document;

/// Fields of the config by plugin. What is not here is the same in both, or is taken out by the
/// downgrade that follows.
const FIELDS: &[(&str, &str, Rule)] = &[
    ("acl", "always_use_authenticated_groups", Rule::Only(No)),
    ("acme", "account_key", Rule::Only(No)),
    ("acme", "allow_any_domain", Rule::Only(No)),
    ("acme", "enable_ipv4_common_name", Rule::Gone),
    ("acme", "storage_config.redis.ssl", Rule::Only(No)),
    ("acme", "storage_config.redis.ssl_verify", Rule::Gone),
    ("acme", "storage_config.redis.server_name", Rule::Gone),
    ("acme", "storage_config.redis.username", Rule::Only(No)),
    ("acme", "storage_config.redis.timeout", Rule::Gone),
    ("acme", "storage_config.redis.extra_options.namespace", Rule::Only(Text(""))),
    ("acme", "storage_config.redis.extra_options.scan_count", Rule::Gone),
    ("aws-lambda", "aws_assume_role_arn", Rule::Only(No)),
    ("aws-lambda", "aws_role_session_name", Rule::Gone),
    ("aws-lambda", "aws_sts_endpoint_url", Rule::Gone),
    ("aws-lambda", "disable_https", Rule::Only(No)),
    ("aws-lambda", "aws_imds_protocol_version", Rule::Lost(Text("v1"))),
    ("aws-lambda", "empty_arrays_mode", Rule::Only(Text("legacy"))),
    ("basic-auth", "realm", Rule::Lost(Text("service"))),
    ("cors", "private_network", Rule::Only(No)),
    ("hmac-auth", "realm", Rule::Lost(No)),
    ("http-log", "content_type", Rule::Nearest(&["application/json"])),
    ("jwt", "realm", Rule::Lost(No)),
    ("key-auth", "realm", Rule::Lost(No)),
    ("ldap-auth", "realm", Rule::Lost(No)),
    ("oauth2", "realm", Rule::Lost(No)),
    // 2.8 always counts what these ask for.
    ("prometheus", "status_code_metrics", Rule::Gone),
    ("prometheus", "latency_metrics", Rule::Gone),
    ("prometheus", "bandwidth_metrics", Rule::Gone),
    ("prometheus", "upstream_health_metrics", Rule::Gone),
    ("prometheus", "ai_metrics", Rule::Lost(No)),
    ("proxy-cache", "ignore_uri_case", Rule::Only(No)),
    ("rate-limiting", "policy", Rule::OneOf(&["local", "redis"])),
    ("rate-limiting", "error_code", Rule::Only(Number(429))),
    ("rate-limiting", "error_message", Rule::Only(Text("API rate limit exceeded"))),
    ("rate-limiting", "sync_rate", Rule::Lost(Number(-1))),
    ("response-ratelimiting", "policy", Rule::OneOf(&["local", "redis"])),
    ("response-ratelimiting", "redis.ssl", Rule::Only(No)),
    ("response-ratelimiting", "redis.ssl_verify", Rule::Gone),
    ("response-ratelimiting", "redis.server_name", Rule::Gone),
    ("response-transformer", "rename.json", Rule::Only(Empty)),
    ("session", "audience", Rule::Lost(Text("default"))),
    ("session", "absolute_timeout", Rule::Lost(Number(86_400))),
    ("session", "remember", Rule::Lost(No)),
    ("session", "remember_cookie_name", Rule::Gone),
    ("session", "remember_rolling_timeout", Rule::Gone),
    ("session", "remember_absolute_timeout", Rule::Gone),
    ("session", "request_headers", Rule::Only(Empty)),
    ("session", "response_headers", Rule::Only(Empty)),
    ("session", "read_body_for_logout", Rule::Lost(No)),
    ("statsd", "allow_status_codes", Rule::Lost(Empty)),
    ("statsd", "udp_packet_size", Rule::Lost(Number(0))),
    ("statsd", "use_tcp", Rule::Only(No)),
    ("statsd", "hostname_in_prefix", Rule::Lost(No)),
    ("statsd", "consumer_identifier_default", Rule::Gone),
    ("statsd", "service_identifier_default", Rule::Lost(Text("service_name_or_host"))),
    ("statsd", "workspace_identifier_default", Rule::Gone),
    ("statsd", "tag_style", Rule::Lost(No)),
    (
        "zipkin",
        "header_type",
        Rule::Nearest(&["preserve", "ignore", "b3", "b3-single", "w3c", "jaeger", "ot"]),
    ),
    ("zipkin", "default_header_type", Rule::Nearest(&["b3", "b3-single", "w3c", "jaeger", "ot"])),
    ("zipkin", "http_span_name", Rule::Lost(Text("method"))),
    ("zipkin", "connect_timeout", Rule::Lost(Number(2000))),
    ("zipkin", "send_timeout", Rule::Lost(Number(5000))),
    ("zipkin", "read_timeout", Rule::Lost(Number(5000))),
    ("zipkin", "http_response_header_for_traceid", Rule::Lost(No)),
    ("zipkin", "phase_duration_flavor", Rule::Lost(Text("annotations"))),
];

/// Changes one plugin; `has_streams` tells whether there are routes below HTTP.
///
/// # Errors
///
/// 2.8 cannot do the same.
pub(super) fn translate(
    has_streams: bool,
    row: &mut Document,
    says: &mut Says<'_>,
) -> Result<(), String> {
    let name = text(row, "name").unwrap_or_default().to_owned();
    if name == "ip-restriction" {
        restrict_http(has_streams, row, LEVEL)?;
    }
    let Some(config) = record(row, "config") else { return Ok(()) };
    match name.as_str() {
        "http-log" => http_log(config),
        "statsd" => statsd(config, says),
        _ => {}
    }
    for (_, field, rule) in FIELDS.iter().filter(|(of, ..)| *of == name) {
        rule.run(config, field, LEVEL)?.tell(&name, field, says);
    }
    Ok(())
}

/// A header has several values in 2.8; and there was no queue, but what stood in its place.
fn http_log(config: &mut Document) {
    if let Some(Value::Object(headers)) = config.get_mut("headers") {
        headers.values_mut().filter(|it| it.is_string()).for_each(|it| *it = json!([it.take()]));
    }
    for (older, in_queue, otherwise) in [
        ("retry_count", None, 10),
        ("queue_size", Some("max_batch_size"), 1),
        ("flush_timeout", Some("max_coalescing_delay"), 2),
    ] {
        if config.get(older).is_some_and(Value::is_number) {
            continue;
        }
        let held = in_queue.and_then(|name| config.get("queue")?.get(name)).cloned();
        let value = held.filter(Value::is_number).unwrap_or_else(|| otherwise.into());
        config.insert(older.to_owned(), value);
    }
}

/// What 2.8 counts, and as what it may be counted: as anything if it does not say.
const METRICS: &[(&str, Option<&str>)] = &[
    ("kong_latency", None),
    ("latency", None),
    ("request_count", None),
    ("request_per_user", Some("counter")),
    ("request_size", None),
    ("response_size", None),
    ("status_count", Some("counter")),
    ("status_count_per_user", Some("counter")),
    ("unique_users", Some("set")),
    ("upstream_latency", None),
];

/// Metrics that 2.8 does not count are left out; those of consumers have to say which name counts.
fn statsd(config: &mut Document, says: &mut Says<'_>) {
    let consumer = config.get("consumer_identifier_default").filter(|value| !value.is_null());
    let consumer = consumer.cloned().unwrap_or_else(|| "custom_id".into());
    let Some(Value::Array(metrics)) = config.get_mut("metrics") else { return };
    let before = metrics.len();
    metrics.retain(|metric| {
        let text = |name| metric.get(name).and_then(Value::as_str);
        let known = METRICS.iter().find(|(name, _)| text("name") == Some(name));
        known.is_some_and(|(_, only)| only.is_none_or(|only| text("stat_type") == Some(only)))
    });
    if metrics.len() < before {
        says.left_out("statsd", "metrics");
    }
    for metric in metrics.iter_mut().filter_map(Value::as_object_mut) {
        for field in ["service_identifier", "workspace_identifier"] {
            if metric.remove(field).is_some_and(|value| !value.is_null()) {
                says.left_out("statsd", &format!("metrics.{field}"));
            }
        }
        let is_of_users = metric.get("name").and_then(Value::as_str).is_some_and(|name| {
            matches!(name, "request_per_user" | "status_count_per_user" | "unique_users")
        });
        let slot = metric.entry("consumer_identifier").or_insert(Value::Null);
        if is_of_users && slot.is_null() {
            *slot = consumer.clone();
        }
    }
}
