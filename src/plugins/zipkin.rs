//! `zipkin`: sends traces to a Zipkin server (reference gateway-4, section F.5).

use std::collections::HashSet;

use serde_json::Value;

use super::PluginKind;
use super::typedef::{flag, propagation, queue, renamed, timeout, url};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Deprecation, Field};

const NAME: &str = "zipkin";

/// The plugin.
pub const KIND: PluginKind = PluginKind::new(NAME, 100_000, schema);

fn schema() -> PluginSchema {
    let old = |name: &str, new: &str, default: &str| {
        let deprecation = Deprecation::new(renamed(NAME, name, new)).old_default(default);
        Field::string().required().default(default).deprecated(deprecation)
    };
    let formats = ["b3", "b3-single", "w3c", "jaeger", "ot", "aws", "datadog", "gcp"];
    let types = ["preserve", "ignore"].into_iter().chain(formats);
    let choice = |first: &str| Field::string().required().default(first);
    KIND.describe(Field::record([
        ("local_service_name", choice("kong")),
        ("http_endpoint", url()),
        ("sample_ratio", Field::number().default(0.001).between(0, 1)),
        ("default_service_name", Field::string()),
        ("include_credential", flag(true)),
        ("traceid_byte_count", Field::integer().required().default(16).one_of([8, 16])),
        ("header_type", old("header_type", "propagation options", "preserve").one_of(types)),
        (
            "default_header_type",
            old("default_header_type", "propagation.default_format", "b3").one_of(formats),
        ),
        ("tags_header", choice("Zipkin-Tags")),
        ("static_tags", Field::array(static_tag()).custom(no_tag_twice)),
        ("http_span_name", choice("method").one_of(["method", "method_path"])),
        ("connect_timeout", timeout().default(2000)),
        ("send_timeout", timeout().default(5000)),
        ("read_timeout", timeout().default(5000)),
        ("http_response_header_for_traceid", Field::string()),
        ("phase_duration_flavor", choice("annotations").one_of(["annotations", "tags"])),
        ("queue", queue()),
        ("propagation", propagation("b3")),
    ]))
    .field("protocols", typedef::protocols())
}

/// A tag of every span; some are the plugin's own.
fn static_tag() -> Field {
    let own = [
        "error",
        "http.method",
        "http.path",
        "http.status_code",
        "kong.balancer.state",
        "kong.balancer.try",
        "kong.consumer",
        "kong.credential",
        "kong.node.id",
        "kong.route",
        "kong.service",
        "lc",
        "peer.hostname",
    ];
    Field::record([
        ("name", Field::string().required().not_one_of(own)),
        ("value", Field::string().required()),
    ])
}

fn no_tag_twice(tags: &Value) -> Result<(), String> {
    let names = tags.as_array().into_iter().flatten().filter_map(|tag| tag.get("name")?.as_str());
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("repeated tags are not allowed: {name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn tags_are_ones_own() {
        let tag = |name: &str| json!({"name": name, "value": "v"});
        accepts(
            &KIND,
            &[
                json!({}),
                json!({
                    "http_endpoint": "http://z.test:9411/api/v2/spans", "sample_ratio": 1,
                    "static_tags": [tag("a"), tag("b")],
                }),
            ],
        );
        let own = "must not be one of: error, http.method, http.path, http.status_code, \
            kong.balancer.state, kong.balancer.try, kong.consumer, kong.credential, kong.node.id, \
            kong.route, kong.service, lc, peer.hostname";
        refuses(
            &KIND,
            &[
                (
                    json!({"static_tags": [tag("a"), tag("a")]}),
                    json!({"config": {"static_tags": "repeated tags are not allowed: a"}}),
                ),
                (
                    json!({"static_tags": [tag("lc")]}),
                    json!({"config": {"static_tags": [{"name": own}]}}),
                ),
                (
                    json!({"traceid_byte_count": 12}),
                    json!({"config": {"traceid_byte_count": "expected one of: 8, 16"}}),
                ),
            ],
        );
    }
}
