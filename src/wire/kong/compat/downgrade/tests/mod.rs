//! Each row of the tables of section 6.4.

mod rules;

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
