//! `http-log`: posts a record for each request to an HTTP server
//! (reference gateway-4, section F.5).

use serde_json::Value;

use super::PluginKind;
use super::typedef::{custom_fields_by_lua, queue, queue_forerunners, url};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

const NAME: &str = "http-log";

/// The plugin.
pub const KIND: PluginKind = PluginKind::new(NAME, 12, schema);

fn schema() -> PluginSchema {
    let types = ["application/json", "application/json; charset=utf-8"];
    let header = typedef::header_name().match_none([
        ("^[Hh][Oo][Ss][Tt]$", "cannot contain 'Host' header"),
        (
            "^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Ll][Ee][nn][Gg][Tt][Hh]$",
            "cannot contain 'Content-Length' header",
        ),
        (
            "^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Tt][Yy][Pp][Ee]$",
            "cannot contain 'Content-Type' header",
        ),
    ]);
    let target = [
        ("http_endpoint", url().required().encrypted().referenceable()),
        ("method", Field::string().default("POST").one_of(["POST", "PUT", "PATCH"])),
        ("content_type", Field::string().default("application/json").one_of(types)),
        ("timeout", Field::number().default(10_000)),
        ("keepalive", Field::number().default(60_000)),
    ];
    let rest = [
        ("headers", Field::map(header, Field::string().referenceable())),
        ("queue", queue()),
        ("custom_fields_by_lua", custom_fields_by_lua()),
    ];
    let config = Field::record(target.into_iter().chain(queue_forerunners(NAME)).chain(rest));
    KIND.describe(config.custom(one_authorization)).field("protocols", typedef::protocols())
}

/// Who logs in is told in the URL or in a header.
fn one_authorization(config: &Value) -> Result<(), String> {
    let url = config.get("http_endpoint").and_then(Value::as_str).unwrap_or_default();
    let authority = url.split_once("//").and_then(|(_, rest)| rest.split('/').next());
    let in_url = authority.is_some_and(|authority| authority.contains('@'));
    let headers = config.get("headers").and_then(Value::as_object);
    let in_header = headers
        .is_some_and(|headers| headers.keys().any(|h| h.eq_ignore_ascii_case("authorization")));
    match in_url && in_header {
        true => Err("specifying both an 'Authorization' header and user info in 'http_endpoint' \
                     is not allowed"
            .into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn records_go_to_a_url_with_headers_of_ones_own() {
        let url = "http://logs.test/in";
        accepts(
            &KIND,
            &[
                json!({"http_endpoint": url}),
                json!({"http_endpoint": "{vault://env/logs}", "headers": {"X-Key": "k"}}),
                json!({"http_endpoint": "https://u:p@logs.test", "queue": {"max_batch_size": 5}}),
                json!({"http_endpoint": url, "retry_count": 3}),
            ],
        );
        let headers = |name: &str, text: &str| {
            let config = json!({"http_endpoint": url, "headers": {name: "x"}});
            (config, json!({"config": {"headers": text}}))
        };
        let both = "specifying both an 'Authorization' header and user info in 'http_endpoint' is \
            not allowed";
        refuses(
            &KIND,
            &[
                (json!({}), json!({"config": {"http_endpoint": "required field missing"}})),
                headers("Host", "cannot contain 'Host' header"),
                headers("content-type", "cannot contain 'Content-Type' header"),
                (
                    json!({
                        "http_endpoint": "https://u:p@logs.test", "headers": {"authorization": "x"},
                    }),
                    json!({"config": both}),
                ),
                (
                    json!({"http_endpoint": url, "queue": {"concurrency_limit": 2}}),
                    json!({"config": {"queue": {"concurrency_limit": "expected one of: -1, 1"}}}),
                ),
            ],
        );
    }
}
