//! Each row of the tables of section 6.4.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::catalog::Catalog;
use crate::plugins;

const CONTROL: &str = "3.9.1";

/// The removed fields as the reference lists them: version, plugins, fields.
const REFERENCE: &str = "
    3.1.0 acme: enable_ipv4_common_name storage_config.redis.ssl storage_config.redis.ssl_verify storage_config.redis.ssl_server_name
    3.1.0 rate_limiting: error_code error_message
    3.1.0 response_ratelimiting: redis_ssl redis_ssl_verify redis_server_name
    3.1.0 datadog statsd: retry_count queue_size flush_timeout
    3.1.0 session: cookie_persistent
    3.1.0 zipkin: http_response_header_for_traceid
    3.2.0 statsd: tag_style
    3.2.0 session: audience absolute_timeout remember_cookie_name remember_rolling_timeout remember_absolute_timeout response_headers request_headers
    3.2.0 aws_lambda: aws_imds_protocol_version
    3.2.0 zipkin: phase_duration_flavor
    3.3.0 acme: account_key storage_config.redis.namespace
    3.3.0 aws_lambda: disable_https
    3.3.0 proxy_cache: ignore_uri_case
    3.3.0 opentelemetry: http_response_header_for_traceid queue header_type
    3.3.0 http_log statsd datadog zipkin: queue
    3.4.0 rate_limiting: sync_rate
    3.4.0 proxy_cache: response_headers
    3.5.0 acme: storage_config.redis.scan_count
    3.5.0 cors: private_network
    3.5.0 session: read_body_for_logout
    3.6.0 opentelemetry: sampling_rate
    3.6.0 basic_auth: realm
    3.7.0 opentelemetry zipkin: propagation
    3.7.0 ai_proxy: response_streaming model.options.upstream_path
    3.7.0 ai_request_transformer ai_response_transformer: llm.model.options.upstream_path
    3.7.0 key_auth: realm
    3.8.0 response_transformer: rename.json
    3.8.0 aws_lambda: empty_arrays_mode
    3.8.0 ldap_auth hmac_auth jwt oauth2: realm
    3.8.0 opentelemetry: traces_endpoint logs_endpoint queue.concurrency_limit
    3.8.0 http_log statsd datadog zipkin: queue.concurrency_limit
    3.8.0 prometheus: ai_metrics
    3.8.0 acl: always_use_authenticated_groups
    3.8.0 ai_proxy: max_request_body_size model.options.gemini model.options.bedrock auth.gcp_use_service_account auth.gcp_service_account_json auth.aws_access_key_id auth.aws_secret_access_key auth.allow_override model_name_header
    3.8.0 ai_prompt_decorator ai_prompt_template: max_request_body_size
    3.8.0 ai_prompt_guard: match_all_roles max_request_body_size
    3.8.0 ai_request_transformer ai_response_transformer: max_request_body_size llm.model.options.gemini llm.model.options.bedrock llm.auth.gcp_use_service_account llm.auth.gcp_service_account_json llm.auth.aws_access_key_id llm.auth.aws_secret_access_key llm.auth.allow_override
    3.9.1 ai_proxy ai_prompt_guard ai_prompt_decorator: llm_format";

fn reference() -> BTreeSet<(u64, String, String)> {
    let mut rows = BTreeSet::new();
    for line in REFERENCE.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, fields) = line.split_once(": ").unwrap();
        let mut plugins = head.split(' ');
        let version = number(plugins.next().unwrap());
        for plugin in plugins {
            rows.extend(fields.split(' ').map(|it| (version, plugin.to_owned(), it.to_owned())));
        }
    }
    rows
}

fn document(value: Value) -> Document {
    value.as_object().unwrap().clone()
}

/// Runs the rules for a data plane over one entity.
fn run(data: &str, kind: &str, row: Value) -> (Value, Vec<String>, bool) {
    let mut row = document(row);
    let mut said = Said::default();
    let downgrade = Downgrade::new(CONTROL, data);
    let changed = downgrade.is_some_and(|downgrade| downgrade.run(kind, &mut row, &mut said));
    (row.into(), said.into_lines().into_iter().map(|line| line.text).collect(), changed)
}

#[test]
fn the_table_of_removed_fields_is_that_of_the_reference() {
    let table = REMOVED.iter().flat_map(|(below, plugins)| {
        plugins.iter().flat_map(move |(plugin, fields)| {
            fields.iter().map(move |field| (*below, (*plugin).to_owned(), (*field).to_owned()))
        })
    });
    assert_eq!(table.collect::<BTreeSet<_>>(), reference());
}

#[test]
fn a_field_goes_below_its_version_and_stays_from_it_on() {
    for (below, plugin, path) in reference() {
        let mut config = Value::from("kept");
        for name in path.rsplit('.') {
            config = json!({name: config});
        }
        let row = json!({"name": plugin.replace('_', "-"), "config": config});
        let holds = |row: &Value| {
            let pointer = format!("/config/{}", path.replace('.', "/"));
            row.pointer(&pointer).is_some()
        };
        let version = |number: u64| {
            let (minor, patch) = (number / 1_000_000 % 1000, number / 1000 % 1000);
            format!("3.{minor}.{patch}")
        };
        // One patch, or one minor, before.
        let before = version(if below % 1_000_000 == 0 { below - 999_000 } else { below - 1000 });
        let (old, lines, changed) = run(&before, "plugins", row.clone());
        assert!(!holds(&old) && changed, "{plugin} {path} for {before}");
        let line = format!(
            "{plugin} plugin contains configuration '{path}' which is incompatible with dataplane \
             and will be ignored"
        );
        let renamed = plugin == "opentelemetry" && path == "traces_endpoint";
        // What is renamed is not lost.
        assert_eq!(lines.contains(&line), !renamed, "{plugin} {path} for {before}: {lines:?}");
        let (new, ..) = run(&version(below), "plugins", row);
        assert!(holds(&new), "{plugin} {path} from {}", version(below));
    }
}

#[test]
fn null_goes_without_a_word() {
    let row = json!({"name": "key-auth", "config": {"realm": null, "key_in_header": true}});
    let wanted = json!({"name": "key-auth", "config": {"key_in_header": true}});
    assert_eq!(run("3.6.0", "plugins", row), (wanted, vec![], true));
}

#[test]
fn equal_and_newer_versions_are_left_alone() {
    for data in ["3.9.1", "3.9.3", "3.10.0", "3.9.1-dev"] {
        assert!(Downgrade::new(CONTROL, data).is_none(), "{data}");
    }
    assert!(Downgrade::new("3.5.0", "3.5.0").is_none());
    assert!(Downgrade::new(CONTROL, "3.9.0").is_some());
    let table = json!({"services": [{"host": "h"}], "_format_version": "3.0"});
    assert_eq!(downgrade(&table, CONTROL, "3.0.0"), None);
    assert_eq!(downgrade(&table, CONTROL, CONTROL), None);
}

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

#[test]
fn a_line_is_said_once() {
    let row = json!({"name": "cors", "config": {"private_network": true}});
    let (_, lines) = downgrade(&json!({"plugins": [row, row, row]}), CONTROL, "3.4.0").unwrap();
    assert_eq!(lines.len(), 1);
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| plugins::catalog(|_| true));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_downgraded_payload_has_no_removed_field(
        minor in 0_u64..10, bits in prop::collection::vec(any::<bool>(), 64),
    ) {
        let data = format!("3.{minor}.0");
        let downgrade = Downgrade::new(CONTROL, &data).unwrap();
        let mut bits = bits.into_iter().cycle();
        let reference = reference();
        for plugin in CATALOG.plugins() {
            let mut config = plugin.config.fields().unwrap().defaults();
            // Some fields are null, some have no place at all.
            config.retain(|_, _| bits.next() != Some(true));
            for (name, _) in plugin.config.fields().unwrap().iter() {
                if bits.next() == Some(true) {
                    config.entry(name).or_insert(Value::Null);
                }
            }
            let mut row = document(json!({"name": plugin.name, "config": config}));
            downgrade.run("plugins", &mut row, &mut Said::default());
            let name = plugin.name.replace('-', "_");
            for (below, _, path) in reference.iter().filter(|row| row.1 == name) {
                let pointer = format!("/config/{}", path.replace('.', "/"));
                let held = Value::from(row.clone()).pointer(&pointer).is_some();
                prop_assert!(!held || number(&data) >= *below, "{} {path} for {data}", plugin.name);
            }
        }
    }
}
