//! What is said to data planes of 2.8, in tables. Each was held against the schemas and the router
//! of Kong 2.8.5.

mod fields;
mod known;

use serde_json::{Value, json};

use super::path::{Told, tell};
use super::*;
use crate::wire::kong::compat::downgrade::{Downgrade, Said};

const LEGACY: Legacy = Legacy { flavour: Flavour::TraditionalCompatible, has_streams: false };

/// Says an entity to 2.8.5; returns the lines too.
fn said_by(legacy: Legacy, kind: &str, row: &Value) -> Result<(Value, Vec<String>), String> {
    let downgrade = Downgrade::new("3.9.1", "2.8.5").unwrap();
    let (mut said, mut row) = (Said::default(), row.as_object().unwrap().clone());
    let mut says = downgrade.says(&mut said);
    legacy.translate(kind, &mut row, &mut says).map_err(|error| error.to_string())?;
    let lines = said.into_lines().into_iter().map(|line| line.text);
    Ok((row.into(), lines.collect()))
}

fn said(kind: &str, row: &Value) -> Result<Value, String> {
    said_by(LEGACY, kind, row).map(|(row, _)| row)
}

fn plugin(name: &str, config: &Value) -> Result<(Value, Vec<String>), String> {
    let (mut row, lines) = said_by(LEGACY, "plugins", &json!({"name": name, "config": config}))?;
    Ok((row["config"].take(), lines))
}

#[test]
fn versions_are_let_in_by_the_setting_and_told_how() {
    use LegacyDataPlanes::{Admitted, Refused};
    for (version, admitted, hint_off, hint_on) in [
        ("2.8.5", true, true, false),
        ("2.8.0-rc.1", true, true, false),
        ("2.7.2", false, false, true),
        ("1.5.1", false, false, true),
        ("2.9.0", false, false, false),
        ("0.14.1", false, false, false),
        ("3.10.0", false, false, false),
        ("4.0.0", false, false, false),
        ("2.8", false, false, false),
        ("", false, false, false),
    ] {
        assert_eq!(Admitted.admits(version), admitted, "{version}");
        assert!(!Refused.admits(version), "{version}");
        assert_eq!(Refused.hint(version).is_some(), hint_off, "{version}");
        assert_eq!(Admitted.hint(version).is_some(), hint_on, "{version}");
    }
}

#[test]
fn paths_are_prefixes_and_patterns_in_2_8_as_they_are_in_3_x() {
    let prefix = |text: &str| Told::Prefix(text.into());
    let pattern = |text: &str| Told::Pattern(text.into());
    let spelt = |path: &str, text: &str| (path.to_owned(), Told::Spelt(text.into(), path.len()));
    let cases = [
        ("/", prefix("/")),
        ("/a.b/c-d_e~f", prefix("/a.b/c-d_e~f")),
        ("/a%2Fb", prefix("/a%2Fb")),
        ("~/a/[0-9]+", pattern("/a/[0-9]+")),
        ("~/a$", pattern("/a$")),
        ("~/a", pattern("/a(?:)")),
        ("~/a.b", pattern("/a.b(?:)")),
        ("~/a%20b", pattern("/a\\x2520b")),
        ("~/a\\%2f[%x]", pattern("/a\\x252f[\\x25x]")),
        ("~/(?<name>[^/]+)/(?P<n2>x)?/(?:a|b)", pattern("/(?<name>[^/]+)/(?P<n2>x)?/(?:a|b)")),
        ("~/(?i:a|b)\\d{2,3}?x*?", pattern("/(?i:a|b)\\d{2,3}?x*?")),
        ("~/[]a][[:alpha:]-]\\.", pattern("/[]a][[:alpha:]-]\\.")),
        ("~/\\x2F", pattern("/\\x2F")),
    ];
    let cases = cases.into_iter().map(|(path, told)| (path.to_owned(), told)).chain([
        spelt("/a:b", "/a\\:b"),
        spelt("/a.b(c)", "/a\\.b\\(c\\)"),
        spelt("/a b", "/a\\x20b"),
        spelt("/a%2F*", "/a%2F\\*"),
        spelt("/é.x", "/é\\.x"),
        spelt("/@x/y", "/\\@x/y"),
    ]);
    for (path, told) in cases {
        assert_eq!(tell(&path), Ok(told), "{path}");
    }
}

#[test]
fn what_2_8_reads_otherwise_is_no_pattern() {
    for pattern in [
        "/a|/b",
        "/(?i)a|b",
        "/a++",
        "/a{2}{3}",
        "/a{,3}",
        "/a{ 2}",
        "/a*+",
        "/é",
        "/[é]",
        "/[a-z&&[^b]]",
        "/[a-z--b]",
        "/[[a]b]",
        "/\\pL",
        "/\\x{41}",
        "/\\x80",
        "/\\u0041",
        "/\\b{start}a",
        "/\\<a",
        "/\\v",
        "/(?x)a b",
        "/(?-u:a)",
        "/(?R)a",
        "/(?<a.b>x)",
        "/(?<a23456789012345678901234567890123>x)",
        "/(?<uri_postfix>x)",
    ] {
        let refused = tell(&format!("~{pattern}"));
        assert!(refused.is_err(), "{pattern}: {refused:?}");
    }
}

#[test]
fn prefixes_that_are_said_as_patterns_stay_behind_patterns_and_in_their_order() {
    let priority = |paths: Value| {
        let row = said("routes", &json!({"id": "1", "paths": paths, "regex_priority": 7}))?;
        Ok::<_, String>(row["regex_priority"].as_i64().unwrap())
    };
    assert_eq!(priority(json!(["/a", "~/b+"])), Ok(7));
    let (short, long) =
        (priority(json!(["/a:b"])).unwrap(), priority(json!(["/a:bc", "/d"])).unwrap());
    assert!(short < long && long < i64::from(i32::MIN), "{short} {long}");
    for paths in [json!(["/a:b", "/a:bc"]), json!(["/a:b", "~/c+"])] {
        let error = priority(paths).unwrap_err();
        assert!(error.contains("make them routes of their own"), "{error}");
    }
}

#[test]
fn routes_that_2_8_would_match_otherwise_are_refused() {
    for (row, why) in [
        (json!({"expression": "http.path == \"/a\""}), "it has an expression"),
        (json!({"headers": {"x": ["~*a", "b"]}}), "'headers.x' has a pattern beside other values"),
        (json!({"headers": {"x": ["~*\\pL"]}}), "the pattern of 'headers.x' has what 2.8 reads"),
        (json!({"snis": ["*.example.com"]}), "'snis' has a wildcard"),
        (json!({"paths": ["/a", "~/a|/b"]}), "the path '~/a|/b' has branches at its top"),
    ] {
        let mut row = row;
        row["id"] = "7".into();
        row["name"] = "r".into();
        let error = said("routes", &row).unwrap_err();
        let start = format!("data planes of Kong 2.8 cannot be told routes 7 (r): {why}");
        assert!(error.starts_with(&start), "{error}");
    }
    let kept = json!({"headers": {"x": ["~*^a|%41$"], "y": ["a", "b"]}, "snis": ["a.b"]});
    assert_eq!(said("routes", &kept), Ok(kept));
}

#[test]
fn the_old_way_with_paths_is_followed_where_3_x_follows_it() {
    let row = json!({"path_handling": "v1", "priority": 0, "expression": null});
    assert_eq!(said("routes", &row), Ok(json!({"path_handling": "v0"})));
    let traditional = Legacy { flavour: Flavour::Traditional, ..LEGACY };
    let (row, _) = said_by(traditional, "routes", &row).unwrap();
    assert_eq!(row, json!({"path_handling": "v1"}));
}

#[test]
fn entities_keep_what_2_8_does_the_same_with() {
    for (kind, row, wanted) in [
        (
            "upstreams",
            json!({"hash_on": "ip", "hash_on_query_arg": null, "use_srv_name": false,
                "healthchecks": {"active": {"headers": null, "timeout": 1}}}),
            Some(json!({"hash_on": "ip", "healthchecks": {"active": {"timeout": 1}}})),
        ),
        ("upstreams", json!({"hash_on": "path"}), None),
        ("upstreams", json!({"hash_fallback": "query_arg"}), None),
        ("upstreams", json!({"use_srv_name": true}), None),
        ("upstreams", json!({"healthchecks": {"active": {"headers": {"a": ["b"]}}}}), None),
        ("jwt_secrets", json!({"algorithm": "RS512"}), Some(json!({"algorithm": "RS512"}))),
        ("jwt_secrets", json!({"algorithm": "EdDSA"}), None),
        ("keyauth_credentials", json!({"key": "k", "ttl": null}), Some(json!({"key": "k"}))),
        ("keyauth_credentials", json!({"key": "k", "ttl": 1_900_000_000}), None),
        ("oauth2_tokens", json!({"ttl": 1_900_000_000}), Some(json!({}))),
        ("certificates", json!({"cert": "{vault://env/cert}"}), None),
    ] {
        assert_eq!(said(kind, &row).ok(), wanted, "{kind} {row}");
    }
}

#[test]
fn plugins_keep_what_2_8_does_the_same_with() {
    for (name, config, wanted) in [
        ("acl", json!({"always_use_authenticated_groups": false}), Some(json!({}))),
        ("acl", json!({"always_use_authenticated_groups": true}), None),
        ("rate-limiting", json!({"error_code": 429, "sync_rate": -1}), Some(json!({}))),
        ("rate-limiting", json!({"error_code": 503}), None),
        ("rate-limiting", json!({"policy": "cluster"}), None),
        ("response-ratelimiting", json!({"redis": {"ssl": true}}), None),
        ("response-transformer", json!({"rename": {"json": []}}), Some(json!({"rename": {}}))),
        ("response-transformer", json!({"rename": {"json": ["a:b"]}}), None),
        ("session", json!({"request_headers": ["id"]}), None),
        ("aws-lambda", json!({"empty_arrays_mode": "correct"}), None),
        ("key-auth", json!({"key_names": ["{vault://env/k}"]}), None),
        ("acme", json!({"storage_config": {"redis": {"username": "u"}}}), None),
        ("of-ours", json!({"any": 1}), Some(json!({"any": 1}))),
    ] {
        let done = plugin(name, &config);
        assert_eq!(done.clone().ok().map(|(row, _)| row), wanted, "{name} {config}");
        assert!(done.is_err() || done.unwrap().1.is_empty(), "{name} {config}");
    }
}

#[test]
fn what_harms_no_request_is_said_otherwise_and_told() {
    for (name, config, wanted, line) in [
        (
            "http-log",
            json!({"content_type": "application/json; charset=utf-8", "queue": {"max_batch_size": 9},
                "headers": {"a": "b"}}),
            json!({"content_type": "application/json", "headers": {"a": ["b"]}, "retry_count": 10,
                "queue": {"max_batch_size": 9}, "queue_size": 9, "flush_timeout": 2}),
            "configures http-log plugin with another content_type which is incompatible with \
             dataplane version 2.8.5 and will fall back to 'application/json'",
        ),
        (
            "zipkin",
            json!({"header_type": "datadog"}),
            json!({"header_type": "preserve"}),
            "fall back",
        ),
        (
            "basic-auth",
            json!({"realm": "x"}),
            json!({}),
            "basic_auth plugin contains configuration",
        ),
        (
            "statsd",
            json!({"metrics": [
                {"name": "unique_users", "stat_type": "set", "service_identifier": "service_id"},
                {"name": "shdict_usage", "stat_type": "gauge"},
                {"name": "status_count", "stat_type": "gauge"},
            ], "consumer_identifier_default": "username"}),
            json!({"metrics": [
                {"name": "unique_users", "stat_type": "set", "consumer_identifier": "username"}]}),
            "statsd plugin contains configuration 'metrics'",
        ),
    ] {
        let (row, lines) = plugin(name, &config).unwrap();
        assert_eq!(row, wanted, "{name}");
        assert!(lines.iter().any(|said| said.contains(line)), "{name}: {lines:?}");
    }
}

#[test]
fn addresses_are_restricted_on_2_8_unless_there_is_more_than_http() {
    let row = json!({"name": "ip-restriction", "protocols": ["http", "tcp"], "config": {}});
    assert_eq!(said("plugins", &row).unwrap()["protocols"], json!(["http"]));
    let streams = Legacy { has_streams: true, ..LEGACY };
    assert!(said_by(streams, "plugins", &row).is_err());
    let only = json!({"name": "ip-restriction", "protocols": ["tcp"], "config": {}});
    assert!(said("plugins", &only).is_err());
}
