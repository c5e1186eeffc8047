//! `aws-lambda`: answers requests with what an AWS Lambda function says
//! (reference gateway-4, section F.4).

use serde_json::Value;

use super::PluginKind;
use super::typedef::url;
use crate::domain::canonical::Document;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Check, Field};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("aws-lambda", 750, schema);

fn schema() -> PluginSchema {
    let secret = || Field::string().encrypted().referenceable();
    let switch = |default: bool| Field::boolean().default(default);
    let choice = |first: &str| Field::string().required().default(first);
    let milliseconds = || Field::number().required().default(60_000);
    KIND.describe(Field::record([
        ("timeout", milliseconds()),
        ("keepalive", milliseconds()),
        ("aws_key", secret()),
        ("aws_secret", secret()),
        ("aws_assume_role_arn", secret()),
        ("aws_role_session_name", Field::string().default("kong")),
        ("aws_sts_endpoint_url", url()),
        ("aws_region", typedef::host()),
        ("function_name", Field::string().optional()),
        ("qualifier", Field::string()),
        (
            "invocation_type",
            choice("RequestResponse").one_of(["RequestResponse", "Event", "DryRun"]),
        ),
        ("log_type", choice("Tail").one_of(["Tail", "None"])),
        ("host", typedef::host()),
        ("port", typedef::port().default(443)),
        ("disable_https", switch(false)),
        ("unhandled_status", Field::integer().between(100, 999)),
        ("forward_request_method", switch(false)),
        ("forward_request_uri", switch(false)),
        ("forward_request_headers", switch(false)),
        ("forward_request_body", switch(false)),
        ("is_proxy_integration", switch(false)),
        ("awsgateway_compatible", switch(false)),
        ("proxy_url", url()),
        ("skip_large_bodies", switch(true)),
        ("base64_encode_body", switch(true)),
        ("aws_imds_protocol_version", choice("v1").one_of(["v1", "v2"])),
        ("empty_arrays_mode", choice("legacy").one_of(["legacy", "correct"])),
    ]))
    .check(Check::MutuallyRequired(&["config.aws_key", "config.aws_secret"]))
    .check(Check::custom(&["config.proxy_url"], plain_proxy))
}

/// The way to a proxy is not encrypted.
fn plain_proxy(plugin: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let url = plugin.get("config").and_then(|config| config.get("proxy_url"));
    let scheme = url.and_then(Value::as_str).and_then(|url| url.split_once("://"));
    if scheme.is_some_and(|(scheme, _)| scheme != "http") {
        errors.entity("proxy_url scheme must be http");
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_come_in_pairs_and_proxies_are_plain() {
        accepts(
            &KIND,
            &[
                json!({}),
                json!({
                    "aws_key": "{vault://env/k}", "aws_secret": "s", "function_name": "f",
                    "proxy_url": "http://p.test:3128",
                }),
            ],
        );
        refuses(
            &KIND,
            &[
                (
                    json!({"aws_key": "k"}),
                    json!({"@entity": ["all or none of these fields must be set: \
                        'config.aws_key', 'config.aws_secret'"]}),
                ),
                (
                    json!({"proxy_url": "https://p.test"}),
                    json!({"@entity": ["proxy_url scheme must be http"]}),
                ),
                (
                    json!({"log_type": "Head", "unhandled_status": 99}),
                    json!({"config": {
                        "log_type": "expected one of: Tail, None",
                        "unhandled_status": "value should be between 100 and 999",
                    }}),
                ),
            ],
        );
    }
}
