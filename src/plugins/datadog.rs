//! `datadog`: sends metrics of each request to a Datadog agent (reference gateway-4, section F.5).

use serde_json::{Value, json};

use super::PluginKind;
use super::typedef::{consumer_identifier, queue, queue_forerunners, sampled};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

const NAME: &str = "datadog";

/// The plugin.
pub const KIND: PluginKind = PluginKind::new(NAME, 10, schema);

fn schema() -> PluginSchema {
    let target = [
        ("host", typedef::host().default("localhost").referenceable()),
        ("port", typedef::port().default(8125)),
        ("prefix", Field::string().default("kong")),
        ("service_name_tag", Field::string().default("name")),
        ("status_tag", Field::string().default("status")),
        ("consumer_tag", Field::string().default("consumer")),
    ];
    let rest = [
        ("queue", queue()),
        ("metrics", Field::array(metric()).required().default(default_metrics())),
    ];
    let config = Field::record(target.into_iter().chain(queue_forerunners(NAME)).chain(rest));
    KIND.describe(config).field("protocols", typedef::protocols())
}

fn metric() -> Field {
    let names = [
        "kong_latency",
        "latency",
        "request_count",
        "request_size",
        "response_size",
        "upstream_latency",
    ];
    let types = ["counter", "gauge", "histogram", "meter", "set", "timer", "distribution"];
    Field::record([
        ("name", Field::string().required().one_of(names)),
        ("stat_type", Field::string().required().one_of(types)),
        ("tags", Field::array(Field::string().matches("^.*[^:]$"))),
        ("sample_rate", Field::number().between(0, 1)),
        ("consumer_identifier", consumer_identifier()),
    ])
    .check(sampled())
}

fn default_metrics() -> Value {
    let metric = |name: &str, stat_type: &str| {
        let tags = ["app:kong"];
        let consumer = "custom_id";
        json!({"name": name, "stat_type": stat_type, "tags": tags, "consumer_identifier": consumer})
    };
    let mut count = metric("request_count", "counter");
    count["sample_rate"] = json!(1);
    json!([
        count,
        metric("latency", "timer"),
        metric("request_size", "timer"),
        metric("response_size", "timer"),
        metric("upstream_latency", "timer"),
        metric("kong_latency", "timer"),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, completed, refuses};
    use super::*;

    #[test]
    fn counters_are_sampled() {
        let metrics = |metric: Value| json!({"metrics": [metric]});
        accepts(
            &KIND,
            &[
                json!({}),
                metrics(json!({"name": "latency", "stat_type": "distribution"})),
                metrics(json!({"name": "latency", "stat_type": "gauge", "sample_rate": 0.5})),
            ],
        );
        let failed = "failed conditional validation given value of field 'stat_type'";
        let missing = "required field missing";
        refuses(
            &KIND,
            &[
                (
                    metrics(json!({"name": "latency", "stat_type": "gauge"})),
                    json!({"config": {"metrics": [{"@entity": [failed], "sample_rate": missing}]}}),
                ),
                (
                    metrics(json!({"name": "latency", "stat_type": "timer", "tags": ["a:"]})),
                    json!({"config": {"metrics": [{"tags": ["invalid value: a:"]}]}}),
                ),
            ],
        );
    }

    #[test]
    fn six_metrics_are_sent_unless_told() {
        let metrics = &completed(&KIND, json!({}))["metrics"];
        assert_eq!(metrics.as_array().map(Vec::len), Some(6));
    }
}
