//! `session`: remembers in a cookie who was authenticated (reference gateway-4, section F.2).

pub mod kind;

use serde_json::{Map, Value, json};

use super::PluginKind;
use crate::domain::canonical::Document;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Auto, Field, Shorthand};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("session", 1900, schema);

fn schema() -> PluginSchema {
    let number = |default: i64| Field::number().default(default);
    let switch = |default: bool| Field::boolean().default(default);
    let word = |default: &str| Field::string().default(default);
    let methods = Field::set(Field::string().one_of(["GET", "POST", "DELETE"]));
    let secret = Field::string().optional().auto(Auto::Secret).encrypted().referenceable();
    let config = Field::record([
        ("secret", secret),
        ("storage", word("cookie").one_of(["cookie", "kong"])),
        ("audience", word("default")),
        ("idling_timeout", number(900)),
        ("rolling_timeout", number(3600)),
        ("absolute_timeout", number(86_400)),
        ("stale_ttl", number(10)),
        ("cookie_name", word("session")),
        ("cookie_path", word("/")),
        ("cookie_domain", Field::string()),
        ("cookie_same_site", word("Strict").one_of(["Strict", "Lax", "None", "Default"])),
        ("cookie_http_only", switch(true)),
        ("cookie_secure", switch(true)),
        ("remember", switch(false)),
        ("remember_cookie_name", word("remember")),
        ("remember_rolling_timeout", number(604_800)),
        ("remember_absolute_timeout", number(2_592_000)),
        ("response_headers", session_headers()),
        ("request_headers", session_headers()),
        ("read_body_for_logout", switch(false)),
        ("logout_methods", methods.default(json!(["POST", "DELETE"]))),
        ("logout_query_arg", word("session_logout")),
        ("logout_post_arg", word("session_logout")),
    ]);
    KIND.describe(with_old_names(config))
        .field("consumer", typedef::no_consumer())
        .kind(kind::schema())
        .field("protocols", typedef::protocols())
}

/// What of a session is told in headers.
fn session_headers() -> Field {
    Field::set(Field::string().one_of([
        "id",
        "audience",
        "subject",
        "timeout",
        "idling-timeout",
        "rolling-timeout",
        "absolute-timeout",
    ]))
}

/// Adds the names that the fields had before Kong 3.2.
fn with_old_names(config: Field) -> Field {
    let number = Field::number;
    [
        Shorthand::to("cookie_lifetime", number(), &["rolling_timeout"]),
        Shorthand::with("cookie_idletime", number(), |value| {
            let seconds = if value.is_null() { json!(0) } else { value.clone() };
            one("idling_timeout", seconds)
        }),
        // What it asked for goes by itself now.
        Shorthand::with("cookie_renew", number(), |_| Map::new()),
        Shorthand::to("cookie_discard", number(), &["stale_ttl"]),
        Shorthand::with("cookie_samesite", Field::string(), |value| {
            one("cookie_same_site", if value == "off" { "Lax".into() } else { value.clone() })
        }),
        Shorthand::to("cookie_httponly", Field::boolean(), &["cookie_http_only"]),
        Shorthand::to("cookie_persistent", Field::boolean(), &["remember"]),
    ]
    .into_iter()
    .fold(config, Field::shorthand)
}

fn one(name: &str, value: Value) -> Document {
    Map::from_iter([(name.to_owned(), value)])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, completed, refuses};
    use super::*;

    #[test]
    fn what_is_told_of_a_session_is_known() {
        accepts(&KIND, &[json!({"secret": "s"}), json!({"request_headers": ["id", "timeout"]})]);
        refuses(
            &KIND,
            &[
                (
                    json!({"storage": "redis"}),
                    json!({"config": {"storage": "expected one of: cookie, kong"}}),
                ),
                (
                    json!({"cookie_samesite": "Never"}),
                    json!({"config": {
                        "cookie_same_site": "expected one of: Strict, Lax, None, Default",
                    }}),
                ),
            ],
        );
    }

    #[test]
    fn old_names_become_the_new_ones() {
        let old = json!({
            "cookie_lifetime": 7, "cookie_idletime": 8, "cookie_renew": 9, "cookie_discard": 1,
            "cookie_samesite": "off", "cookie_httponly": false, "cookie_persistent": true,
        });
        let config = completed(&KIND, old);
        let new = json!({
            "rolling_timeout": 7, "idling_timeout": 8, "stale_ttl": 1, "cookie_same_site": "Lax",
            "cookie_http_only": false, "remember": true,
        });
        for (name, value) in new.as_object().unwrap() {
            assert_eq!(config[name], *value, "{name}");
        }
        assert_eq!(config.get("cookie_renew"), None);
    }

    #[test]
    fn a_secret_is_made_up() {
        assert_eq!(completed(&KIND, json!({}))["secret"].as_str().map(str::len), Some(32));
    }
}
