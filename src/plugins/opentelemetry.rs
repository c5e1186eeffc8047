//! `opentelemetry`: sends traces and logs to an OTLP server (reference gateway-4, section F.5).

use serde_json::json;

use super::PluginKind;
use super::typedef::{propagation, queue, renamed, timeout, url};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Deprecation, Field, Shorthand};

const NAME: &str = "opentelemetry";

/// The plugin.
pub const KIND: PluginKind = PluginKind::new(NAME, 14, schema);

fn schema() -> PluginSchema {
    let header_types =
        ["preserve", "ignore", "b3", "b3-single", "w3c", "jaeger", "ot", "aws", "gcp", "datadog"];
    let old = |name: &str, new: &str, default: i64| {
        let message = renamed(NAME, name, new);
        Field::integer().deprecated(Deprecation::new(message).old_default(default))
    };
    let header_type = Deprecation::new(renamed(NAME, "header_type", "propagation options"))
        .old_default("preserve");
    let attribute = || Field::string().required();
    let config = Field::record([
        ("traces_endpoint", url().referenceable()),
        ("logs_endpoint", url().referenceable()),
        ("headers", Field::map(typedef::header_name(), Field::string().referenceable())),
        ("resource_attributes", Field::map(attribute(), attribute())),
        ("queue", queue().required().default(json!({"max_batch_size": 200}))),
        ("batch_span_count", old("batch_span_count", "queue.max_batch_size", 200)),
        ("batch_flush_delay", old("batch_flush_delay", "queue.max_coalescing_delay", 3)),
        ("connect_timeout", timeout().default(1000)),
        ("send_timeout", timeout().default(5000)),
        ("read_timeout", timeout().default(5000)),
        ("http_response_header_for_traceid", Field::string()),
        (
            "header_type",
            Field::string()
                .optional()
                .default("preserve")
                .one_of(header_types)
                .deprecated(header_type),
        ),
        ("sampling_rate", Field::number().optional().between(0, 1)),
        ("propagation", propagation("w3c")),
    ])
    .check(Check::AtLeastOneOf(&["traces_endpoint", "logs_endpoint"]))
    .shorthand(endpoint());
    KIND.describe(config)
}

/// The name that the endpoint of traces had. Kong writes the plugin's name otherwise here, and
/// does not show the old name on reads.
fn endpoint() -> Shorthand {
    let message = renamed("OpenTelemetry", "endpoint", "traces_endpoint");
    let old = url().referenceable().deprecated(Deprecation::new(message));
    Shorthand::to("endpoint", old, &["traces_endpoint"])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, completed, refuses};
    use super::*;

    #[test]
    fn one_endpoint_is_asked_for() {
        accepts(
            &KIND,
            &[
                json!({"traces_endpoint": "http://otel.test:4318/v1/traces"}),
                json!({
                    "logs_endpoint": "{vault://env/otel}", "headers": {"X-Key": "k"},
                    "propagation": {"extract": ["b3"], "default_format": "jaeger"},
                }),
            ],
        );
        let none = "at least one of these fields must be non-empty: 'traces_endpoint', \
            'logs_endpoint'";
        let url = "http://otel.test";
        let refused = |field: &str, value: serde_json::Value, error: serde_json::Value| {
            let config = json!({"traces_endpoint": url, field: value});
            (config, json!({"config": {field: error}}))
        };
        refuses(
            &KIND,
            &[
                (json!({}), json!({"config": {"@entity": [none]}})),
                refused("sampling_rate", json!(2), json!("value should be between 0 and 1")),
                refused(
                    "propagation",
                    json!({"clear": ["b 3"]}),
                    json!({
                        "clear": ["bad header name 'b 3', allowed characters are A-Z, a-z, 0-9, \
                            '_', and '-'"],
                        "default_format": "required field missing",
                    }),
                ),
            ],
        );
    }

    #[test]
    fn the_old_endpoint_is_read() {
        let config = completed(&KIND, json!({"endpoint": "http://otel.test"}));
        assert_eq!(config["traces_endpoint"], "http://otel.test");
        assert_eq!(config["queue"]["max_batch_size"], 200);
        assert_eq!(config["queue"]["max_entries"], 10_000);
    }
}
