//! `proxy-cache`: keeps answers and gives them again (reference gateway-4, section F.3).

use serde_json::{Value, json};

use super::PluginKind;
use super::typedef::{flag, is_memory_zone, texts};
use crate::domain::canonical::Document;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Check, Field};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("proxy-cache", 100, schema);

fn schema() -> PluginSchema {
    let codes = Field::array(Field::integer().between(100, 900)).len_min(1);
    let methods = Field::array(Field::string().one_of(["HEAD", "GET", "POST", "PATCH", "PUT"]));
    let shown = || Field::boolean().default(true);
    KIND.describe(Field::record([
        ("response_code", codes.required().default(json!([200, 301, 404]))),
        ("request_method", methods.required().default(json!(["GET", "HEAD"]))),
        ("content_type", texts().required().default(json!(["text/plain", "application/json"]))),
        ("cache_ttl", Field::integer().default(300).gt(0.0)),
        ("strategy", Field::string().required().one_of(["memory"])),
        ("cache_control", flag(false)),
        ("ignore_uri_case", Field::boolean().optional().default(false)),
        ("storage_ttl", Field::integer()),
        ("memory", Field::record([("dictionary_name", dictionary())])),
        ("vary_query_params", texts()),
        ("vary_headers", texts()),
        (
            "response_headers",
            Field::record([
                ("age", shown()),
                ("X-Cache-Status", shown()),
                ("X-Cache-Key", shown()),
            ]),
        ),
    ]))
    .field("protocols", typedef::protocols())
    .check(Check::custom(&["config"], dictionary_exists))
}

fn dictionary() -> Field {
    Field::string().required().default("kong_db_cache")
}

/// Kong looks for the zone after everything else, and says so of the whole entity.
fn dictionary_exists(plugin: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let name = plugin.get("config").and_then(|config| config.get("memory")?.get("dictionary_name"));
    if let Some(name) = name.and_then(Value::as_str).filter(|name| !is_memory_zone(name)) {
        errors.entity(format!("missing shared dict '{name}'"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn answers_are_kept_in_memory() {
        accepts(
            &KIND,
            &[
                json!({"strategy": "memory"}),
                json!({"strategy": "memory", "memory": {"dictionary_name": "kong"}}),
            ],
        );
        refuses(
            &KIND,
            &[
                (json!({}), json!({"config": {"strategy": "required field missing"}})),
                (
                    json!({"strategy": "memory", "memory": {"dictionary_name": "mine"}}),
                    json!({"@entity": ["missing shared dict 'mine'"]}),
                ),
                (
                    json!({"strategy": "memory", "response_code": [], "cache_ttl": 0}),
                    json!({"config": {
                        "cache_ttl": "value must be greater than 0",
                        "response_code": "length must be at least 1",
                    }}),
                ),
            ],
        );
    }
}
