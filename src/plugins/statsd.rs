//! `statsd`: sends metrics of each request to a StatsD server (reference gateway-4, section F.5).

use serde_json::{Value, json};

use super::PluginKind;
use super::typedef::{consumer_identifier, queue, queue_forerunners, sampled};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

const NAME: &str = "statsd";

/// The plugin.
pub const KIND: PluginKind = PluginKind::new(NAME, 11, schema);

fn schema() -> PluginSchema {
    let consumer = consumer_identifier().required().default("custom_id");
    let service = service_identifier().required().default("service_name_or_host");
    let workspace = workspace_identifier().required().default("workspace_id");
    let styles = ["dogstatsd", "influxdb", "librato", "signalfx"];
    let target = [
        ("host", typedef::host().default("localhost")),
        ("port", typedef::port().default(8125)),
        ("prefix", Field::string().default("kong")),
        ("metrics", Field::array(metric()).default(default_metrics())),
        ("allow_status_codes", Field::array(Field::string().matches("^[0-9]+-[0-9]+$"))),
        ("udp_packet_size", Field::number().default(0).between(0, 65_507)),
        ("use_tcp", Field::boolean().default(false)),
        ("hostname_in_prefix", Field::boolean().default(false)),
        ("consumer_identifier_default", consumer),
        ("service_identifier_default", service),
        ("workspace_identifier_default", workspace),
    ];
    let rest = [("tag_style", Field::string().optional().one_of(styles)), ("queue", queue())];
    let config = Field::record(target.into_iter().chain(queue_forerunners(NAME)).chain(rest));
    KIND.describe(config).field("protocols", typedef::protocols())
}

fn service_identifier() -> Field {
    let ways = ["service_id", "service_name", "service_host", "service_name_or_host"];
    Field::string().one_of(ways)
}

fn workspace_identifier() -> Field {
    Field::string().one_of(["workspace_id", "workspace_name"])
}

fn metric() -> Field {
    let names = [
        "kong_latency",
        "latency",
        "request_count",
        "request_per_user",
        "request_size",
        "response_size",
        "status_count",
        "status_count_per_user",
        "unique_users",
        "upstream_latency",
        "status_count_per_workspace",
        "status_count_per_user_per_route",
        "shdict_usage",
    ];
    let types = ["counter", "gauge", "histogram", "meter", "set", "timer"];
    Field::record([
        ("name", Field::string().required().one_of(names)),
        ("stat_type", Field::string().required().one_of(types)),
        ("sample_rate", Field::number().gt(0.0)),
        ("consumer_identifier", consumer_identifier()),
        ("service_identifier", service_identifier()),
        ("workspace_identifier", workspace_identifier()),
    ])
    .check(sampled())
}

fn default_metrics() -> Value {
    let plain = |name: &str, stat_type: &str| json!({"name": name, "stat_type": stat_type});
    let sampled = |name: &str, stat_type: &str| json!({"name": name, "stat_type": stat_type, "sample_rate": 1});
    json!([
        sampled("request_count", "counter"),
        plain("latency", "timer"),
        sampled("request_size", "counter"),
        sampled("status_count", "counter"),
        sampled("response_size", "counter"),
        plain("unique_users", "set"),
        sampled("request_per_user", "counter"),
        plain("upstream_latency", "timer"),
        plain("kong_latency", "timer"),
        sampled("status_count_per_user", "counter"),
        sampled("status_count_per_workspace", "counter"),
        sampled("status_count_per_user_per_route", "counter"),
        sampled("shdict_usage", "gauge"),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, completed, refuses};
    use super::*;

    #[test]
    fn metrics_and_status_ranges_are_known() {
        accepts(
            &KIND,
            &[
                json!({}),
                json!({
                    "allow_status_codes": ["200-299"], "tag_style": "influxdb",
                    "metrics": [{"name": "unique_users", "stat_type": "set"}],
                }),
            ],
        );
        refuses(
            &KIND,
            &[
                (
                    json!({"allow_status_codes": ["2xx"]}),
                    json!({"config": {"allow_status_codes": ["invalid value: 2xx"]}}),
                ),
                (
                    json!({"metrics": [{"name": "latency", "stat_type": "timer", "sample_rate": 0}]}),
                    json!({"config": {"metrics": [
                        {"sample_rate": "value must be greater than 0"},
                    ]}}),
                ),
            ],
        );
    }

    #[test]
    fn thirteen_metrics_are_sent_unless_told() {
        let metrics = &completed(&KIND, json!({}))["metrics"];
        assert_eq!(metrics.as_array().map(Vec::len), Some(13));
    }
}
