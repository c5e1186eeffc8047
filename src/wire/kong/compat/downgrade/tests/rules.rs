//! The rules that look further than one field, each with what it makes of an entity.

use serde_json::json;

use super::super::*;
use super::{CONTROL, run};

/// One case: version, kind, entity, what it becomes, and the middle and end of the line.
type Case = (&'static str, &'static str, Value, Value, Option<(&'static str, &'static str)>);

fn gateway(data: &str, hint: &str, action: &str) -> String {
    format!(
        "Kong Gateway v3.9.1 {hint} which is incompatible with dataplane version {data} and will \
         {action}."
    )
}

fn check(cases: Vec<Case>) {
    for (data, kind, row, wanted, line) in cases {
        let (is, lines, changed) = run(data, kind, row.clone());
        assert_eq!(is, wanted, "{data} {kind}");
        assert_eq!(changed, is != row, "{data} {kind} {row}");
        let line = line.map(|(hint, action)| gateway(data, hint, action));
        let told: Vec<_> = lines.iter().filter(|it| it.starts_with("Kong Gateway")).collect();
        assert_eq!(told, Vec::from_iter(&line), "{data} {kind} {row}");
    }
}

fn ai(provider: &str, route_type: &str) -> Value {
    json!({"name": "ai-proxy", "config": {
        "model": {"provider": provider, "options": {"input_cost": 1}}, "route_type": route_type,
    }})
}

fn transformer(name: &str, provider: &str) -> Value {
    json!({"name": name, "config": {"llm": {"model": {"provider": provider}}}})
}

fn tracer(name: &str, field: &str, value: &str) -> Value {
    json!({"name": name, "config": {field: value}})
}

#[test]
fn providers_that_came_later_fall_back() {
    check(vec![
        (
            "3.8.0",
            "plugins",
            ai("huggingface", "llm/v1/chat"),
            ai("openai", "preserve"),
            Some((
                "configures ai-proxy plugin with \"openai preserve mode\", because huggingface \
                 provider  is not supported in this release",
                "fall back to 'openai'",
            )),
        ),
        (
            "3.9.0",
            "plugins",
            ai("huggingface", "llm/v1/chat"),
            ai("huggingface", "llm/v1/chat"),
            None,
        ),
        (
            "3.7.0",
            "plugins",
            transformer("ai-request-transformer", "gemini"),
            transformer("ai-request-transformer", "openai"),
            Some((
                "configures ai-request-transformer plugin with \"openai preserve mode\", because \
                 gemini provider  is not supported in this release",
                "fall back to 'openai'",
            )),
        ),
        (
            "3.7.0",
            "plugins",
            transformer("ai-response-transformer", "bedrock"),
            transformer("ai-response-transformer", "openai"),
            Some((
                "configures ai-response-transformer plugin with \"openai preserve mode\", because \
                 bedrock provider  is not supported in this release",
                "fall back to 'openai'",
            )),
        ),
    ]);
}

#[test]
fn rules_for_single_plugins() {
    check(vec![
        (
            "3.7.0",
            "plugins",
            json!({"name": "ai-proxy", "config": {"model": {"provider": "mistral", "options": null}}}),
            json!({"name": "ai-proxy", "config": {"model": {
                "provider": "mistral", "options": {"upstream_url": "https://api.mistral.ai:443"},
            }}}),
            Some((
                "configures ai-proxy plugin with mistral provider uses fallback upstream_url for \
                 managed serivice",
                "use https://api.mistral.ai:443",
            )),
        ),
        (
            "3.7.0",
            "plugins",
            json!({"name": "acme", "config": {"storage_config": {"redis": {"username": "u"}}}}),
            json!({"name": "acme", "config": {"storage_config": {"redis": {"username": "u"}}}}),
            Some(("configures acme plugin with redis username", "not work in this release")),
        ),
        (
            "3.7.0",
            "plugins",
            json!({"name": "aws-lambda", "config": {"aws_sts_endpoint_url": "https://sts.test"}}),
            json!({"name": "aws-lambda", "config": {}}),
            Some(("configures aws-lambda plugin with aws_sts_endpoint_url", "be removed")),
        ),
        (
            "3.6.0",
            "plugins",
            ai("openai", "preserve"),
            ai("openai", "llm/v1/chat"),
            Some((
                "configures ai-proxy plugin with route_type == \"llm/v1/chat\", because preserve \
                 mode is not supported in this release",
                "fall back to 'llm/v1/chat'",
            )),
        ),
        (
            "3.1.0",
            "plugins",
            json!({"name": "cors", "instance_name": "one", "config": {}}),
            json!({"name": "cors", "config": {}}),
            Some(("contains configuration 'plugin.instance_name'", "be removed")),
        ),
    ]);
}

#[test]
fn header_types_that_came_later_are_overwritten() {
    check(vec![
        (
            "3.4.0",
            "plugins",
            tracer("opentelemetry", "header_type", "gcp"),
            tracer("opentelemetry", "header_type", "preserve"),
            Some((
                "configures opentelemetry plugin with: header_type == gcp",
                "overwritten with default value `preserve`",
            )),
        ),
        (
            "3.4.0",
            "plugins",
            tracer("zipkin", "default_header_type", "gcp"),
            tracer("zipkin", "default_header_type", "b3"),
            Some((
                "configures zipkin plugin with: default_header_type == gcp",
                "overwritten with default value `b3`",
            )),
        ),
        (
            "3.3.0",
            "plugins",
            tracer("zipkin", "header_type", "aws"),
            tracer("zipkin", "header_type", "preserve"),
            Some((
                "configures zipkin plugin with: header_type == aws",
                "overwritten with default value `preserve`",
            )),
        ),
        (
            "3.3.0",
            "plugins",
            tracer("zipkin", "default_header_type", "aws"),
            tracer("zipkin", "default_header_type", "b3"),
            Some((
                "configures zipkin plugin with: default_header_type == aws",
                "overwritten with default value `b3`",
            )),
        ),
        (
            "3.4.0",
            "plugins",
            tracer("zipkin", "header_type", "aws"),
            tracer("zipkin", "header_type", "aws"),
            None,
        ),
    ]);
}

#[test]
fn queues_become_what_they_were_before() {
    let queue = json!({"max_batch_size": 7, "max_coalescing_delay": 0.5});
    let (statsd, ..) = run(
        "3.2.0",
        "plugins",
        json!({"name": "statsd", "config": {
            "queue": queue, "retry_count": null,
        }}),
    );
    let wanted = json!({"retry_count": 10, "queue_size": 7, "flush_timeout": 0.5});
    assert_eq!(statsd["config"], wanted);
    let (datadog, ..) =
        run("3.2.0", "plugins", json!({"name": "datadog", "config": {"queue_size": 3}}));
    assert_eq!(datadog["config"], json!({"retry_count": 10, "queue_size": 3, "flush_timeout": 2}));
    let (tracer, ..) =
        run("3.2.0", "plugins", json!({"name": "opentelemetry", "config": {"queue": queue}}));
    assert_eq!(tracer["config"], json!({"batch_span_count": 7, "batch_flush_delay": 0.5}));
    let (tracer, ..) = run("3.2.0", "plugins", json!({"name": "opentelemetry", "config": {}}));
    assert_eq!(tracer["config"], json!({"batch_span_count": 200, "batch_flush_delay": 3}));
}

#[test]
fn every_redis_becomes_flat_whatever_comes_after_it() {
    let redis = |policy: &str| {
        json!({"policy": policy, "redis": {
            "host": "r", "port": 6379, "username": null, "password": "p", "database": 1,
            "timeout": 2000, "ssl": true, "ssl_verify": false, "server_name": null,
        }})
    };
    let flat = |policy: &str| {
        json!({
            "policy": policy, "redis_host": "r", "redis_port": 6379, "redis_username": null,
            "redis_password": "p", "redis_database": 1, "redis_timeout": 2000, "redis_ssl": true,
            "redis_ssl_verify": false, "redis_server_name": null,
        })
    };
    let table = |one: Value, two: Value| {
        json!({"plugins": [
            {"name": "rate-limiting", "config": one}, {"name": "response-ratelimiting", "config": two},
        ]})
    };
    let (changed, lines) =
        downgrade(&table(redis("redis"), redis("local")), CONTROL, "3.5.0").unwrap();
    assert_eq!(changed, table(flat("redis"), flat("local")));
    let line = |name: &str| {
        let hint = format!("adapts {name} plugin redis configuration to older version");
        gateway("3.5.0", &hint, "revert to older schema")
    };
    let lines: Vec<_> = lines.into_iter().map(|line| line.text).collect();
    assert_eq!(lines, [line("rate-limiting"), line("response-ratelimiting")]);
    assert_eq!(downgrade(&table(redis("redis"), redis("local")), CONTROL, "3.6.0"), None);
}

#[test]
fn the_redis_of_acme_has_its_older_names() {
    let row = json!({"name": "acme", "config": {"storage": "redis", "storage_config": {"redis": {
        "host": "r", "port": 1, "password": "p", "database": 2, "ssl": true, "ssl_verify": false,
        "server_name": "n", "username": null, "timeout": 3,
        "extra_options": {"namespace": "ns", "scan_count": 4},
    }}}});
    let (row, ..) = run("3.5.0", "plugins", row);
    assert_eq!(
        row["config"]["storage_config"]["redis"],
        json!({
            "host": "r", "port": 1, "auth": "p", "database": 2, "ssl": true, "ssl_verify": false,
            "ssl_server_name": "n", "namespace": "ns", "scan_count": 4,
        })
    );
}

#[test]
fn fields_had_other_names() {
    let session = json!({"name": "session", "config": {
        "idling_timeout": 1, "rolling_timeout": 2, "stale_ttl": 3, "cookie_same_site": "Default",
        "cookie_http_only": true, "remember": false,
    }});
    let wanted = json!({
        "cookie_idletime": 1, "cookie_lifetime": 2, "cookie_discard": 3, "cookie_samesite": "Lax",
        "cookie_httponly": true, "cookie_persistent": false,
    });
    assert_eq!(run("3.1.0", "plugins", session.clone()).0["config"], wanted);
    assert_eq!(run("3.2.0", "plugins", session.clone()).0, session);
    let tracer = json!({"name": "opentelemetry", "config": {"traces_endpoint": "http://t.test"}});
    let wanted = json!({"endpoint": "http://t.test"});
    assert_eq!(run("3.7.9", "plugins", tracer).0["config"], wanted);
}

#[test]
fn rules_for_other_kinds() {
    check(vec![
        (
            "3.2.0",
            "vaults",
            json!({"name": "env", "config": {"prefix": "a-b-c"}}),
            json!({"name": "env", "config": {"prefix": "a_b_c"}}),
            None,
        ),
        (
            "3.2.0",
            "vaults",
            json!({"name": "other", "config": {"prefix": "a-b"}}),
            json!({"name": "other", "config": {"prefix": "a-b"}}),
            None,
        ),
        (
            "3.1.0",
            "services",
            json!({
                "protocol": "tls", "client_certificate": null, "tls_verify": true,
                "tls_verify_depth": 1, "ca_certificates": null,
            }),
            json!({"protocol": "tls"}),
            Some((
                "tls protocol service contains configuration 'service.client_certificate'or \
                 'service.tls_verify' or 'service.tls_verify_depth' or 'service.ca_certificates'",
                "be removed",
            )),
        ),
        (
            "3.1.0",
            "services",
            json!({"protocol": "https", "tls_verify": true}),
            json!({"protocol": "https", "tls_verify": true}),
            None,
        ),
        (
            "3.1.0",
            "upstreams",
            json!({"algorithm": "latency"}),
            json!({"algorithm": "round-robin"}),
            Some((
                "configuration 'upstream.algorithm' contains 'latency' option",
                "fall back to 'round-robin'",
            )),
        ),
        (
            "3.0.0",
            "upstreams",
            json!({"use_srv_name": false}),
            json!({}),
            Some(("contains configuration 'upstream.use_srv_name'", "be removed")),
        ),
        ("3.2.0", "services", json!({"updated_at": 1}), json!({"updated_at": 1}), None),
        ("3.3.0", "snis", json!({"updated_at": 1}), json!({"updated_at": 1}), None),
    ]);
}

#[test]
fn some_kinds_had_no_time_of_their_last_update() {
    let mut cases: Vec<Case> = Vec::new();
    for kind in [
        "ca_certificates",
        "certificates",
        "consumers",
        "targets",
        "upstreams",
        "plugins",
        "workspaces",
        "snis",
    ] {
        let hint = format!("contains configuration '{kind}.updated_at'").leak();
        let line = Some((&*hint, "be removed"));
        cases.push(("3.2.0", kind, json!({"updated_at": 1, "id": 2}), json!({"id": 2}), line));
    }
    check(cases);
}
