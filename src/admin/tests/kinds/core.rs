//! Services, routes, consumers, upstreams, targets and plugins.

use serde_json::{Value, json};

use super::{accept, answers, reference, refuse, start};

const BETWEEN: &str = "value should be between";

#[tokio::test]
async fn services() {
    let app = start().await;
    let shown = json!({
        "protocol": "http", "port": 80, "retries": 5, "path": null, "enabled": true,
        "connect_timeout": 60000, "client_certificate": null, "ca_certificates": null,
        "tls_verify": null, "tls_verify_depth": null, "tags": null, "name": null,
    });
    accept(&app, "/services", json!({"host": "a"}), shown).await;
    for (url, protocol, host, port, path) in [
        ("http://a.test", "http", "a.test", 80, Value::Null),
        ("https://a.test/p", "https", "a.test", 443, json!("/p")),
        ("tcp://a.test", "tcp", "a.test", 80, Value::Null),
        ("grpc://a.test:9000", "grpc", "a.test", 9000, Value::Null),
        ("http://[::1]:81/", "http", "[::1]", 81, json!("/")),
    ] {
        let shown = json!({"protocol": protocol, "host": host, "port": port, "path": path});
        accept(&app, "/services", json!({"url": url}), shown).await;
    }
    let tls = json!({
        "name": "tls", "host": "a", "protocol": "https", "tls_verify": true,
        "tls_verify_depth": 3, "ca_certificates": ["00000000-0000-4000-8000-000000000001"],
    });
    accept(&app, "/services", tls, json!({"tls_verify_depth": 3})).await;
}

#[tokio::test]
async fn services_that_are_refused() {
    let app = start().await;
    let conditional = "failed conditional validation given value of field 'protocol'";
    let not_null = |field: &str| json!({field: "value must be null", "@entity": [conditional]});
    let with = |more: Value| {
        let mut body = json!({"host": "a"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let name = "invalid value 'a b': the only accepted ascii characters are alphanumerics or ., \
                -, _, and ~";
    let path = "invalid path: '/ä' (characters outside of the reserved list of RFC 3986 found)";
    refuse(
        &app,
        "/services",
        vec![
            (with(json!({"port": 65536})), json!({"port": format!("{BETWEEN} 0 and 65535")})),
            (with(json!({"port": null})), json!({"port": "required field missing"})),
            (with(json!({"retries": 32768})), json!({"retries": format!("{BETWEEN} 0 and 32767")})),
            (
                with(json!({"read_timeout": 0})),
                json!({"read_timeout": format!("{BETWEEN} 1 and 2147483646")}),
            ),
            (
                with(json!({"protocol": "ftp"})),
                json!({"protocol": "expected one of: grpc, grpcs, http, https, tcp, tls, \
                                    tls_passthrough, udp"}),
            ),
            (with(json!({"host": "a:80"})), json!({"host": "must not have a port"})),
            (with(json!({"name": "a b"})), json!({"name": name})),
            (with(json!({"name": ""})), json!({"name": "length must be at least 1"})),
            (with(json!({"path": "x"})), json!({"path": "should start with: /"})),
            (with(json!({"path": "/ä"})), json!({"path": path})),
            (with(json!({"path": "/a//b"})), json!({"path": "must not have empty segments"})),
            (with(json!({"protocol": "tcp", "path": "/a"})), not_null("path")),
            (with(json!({"tls_verify": true})), not_null("tls_verify")),
            (with(json!({"tls_verify_depth": 1})), not_null("tls_verify_depth")),
            (with(json!({"ca_certificates": []})), not_null("ca_certificates")),
            (
                with(json!({"protocol": "https", "ca_certificates": ["x"]})),
                json!({"ca_certificates": ["expected a valid UUID"]}),
            ),
            (with(json!({"enabled": "yes"})), json!({"enabled": "expected a boolean"})),
            (
                with(json!({"tags": ["a", "b,c"]})),
                json!({"tags": [null, "invalid tag 'b,c': expected printable ascii (except `,` \
                                       and `/`) or valid utf-8 sequences"]}),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn consumers() {
    let app = start().await;
    accept(&app, "/consumers", json!({"username": "a b/ü"}), json!({"custom_id": null})).await;
    accept(&app, "/consumers", json!({"custom_id": "1"}), json!({"username": null})).await;
    let both = json!({"username": "c", "custom_id": "2", "tags": ["x", "x", "y"]});
    accept(&app, "/consumers", both, json!({"tags": ["x", "y"]})).await;
    let neither = "at least one of these fields must be non-empty: 'custom_id', 'username'";
    refuse(
        &app,
        "/consumers",
        vec![
            (json!({}), json!({"@entity": [neither]})),
            (json!({"username": 1}), json!({"username": "expected a string"})),
        ],
    )
    .await;
    let taken = |field: &str, value: &str| {
        format!("UNIQUE violation detected on '{{{field}=\"{value}\"}}'")
    };
    answers(
        &app,
        vec![
            ("POST", "/consumers".into(), json!({"username": "c"}), 409, &taken("username", "c")),
            ("POST", "/consumers".into(), json!({"custom_id": "1"}), 409, &taken("custom_id", "1")),
            ("GET", "/consumers/a+b%2F%C3%BC".into(), Value::Null, 200, ""),
            ("PUT", "/consumers/d".into(), json!({"username": "other"}), 200, ""),
            ("GET", "/consumers/d".into(), Value::Null, 200, ""),
            ("DELETE", "/consumers/d".into(), Value::Null, 204, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn upstreams() {
    let app = start().await;
    let made = accept(&app, "/upstreams", json!({"name": "u"}), json!({"slots": 10000})).await;
    assert_eq!(made["healthchecks"]["active"]["healthy"]["http_statuses"], json!([200, 302]));
    assert_eq!(made["healthchecks"]["passive"]["unhealthy"]["timeouts"], 0);
    let hashing = json!({"name": "v", "hash_on": "ip", "hash_fallback": "consumer"});
    accept(&app, "/upstreams", hashing, json!({"algorithm": "consistent-hashing"})).await;
    let name = |name: &str, why: &str| {
        (json!({"name": name}), json!({"name": format!("Invalid name ('{name}'); {why}")}))
    };
    let conditional =
        |field: &str| format!("failed conditional validation given value of field '{field}'");
    let named = |more: Value| {
        let mut body = json!({"name": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    refuse(
        &app,
        "/upstreams",
        vec![
            name("a b", "must be a valid hostname"),
            name("10.0.0.1", "no ip addresses allowed"),
            name("a:80", "no port allowed"),
            (named(json!({"slots": 9})), json!({"slots": format!("{BETWEEN} 10 and 65536")})),
            (
                named(json!({"hash_on": "header"})),
                json!({"@entity": [conditional("hash_on")],
                       "hash_on_header": "required field missing"}),
            ),
            (
                named(json!({"hash_on": "cookie", "hash_on_cookie": "c", "hash_fallback": "ip"})),
                json!({"@entity": [conditional("hash_on")],
                       "hash_fallback": "expected one of: none"}),
            ),
            (
                named(json!({
                    "hash_on": "header", "hash_on_header": "a", "hash_fallback": "header",
                    "hash_fallback_header": "a",
                })),
                json!({"@entity": ["values of these fields must be distinct: 'hash_on_header', \
                                    'hash_fallback_header'"]}),
            ),
            (
                named(json!({"healthchecks": {"active": {"type": "x", "timeout": -1}}})),
                json!({"healthchecks": {"active": {
                    "type": "expected one of: tcp, http, https, grpc, grpcs",
                    "timeout": format!("{BETWEEN} 0 and 65535"),
                }}}),
            ),
            (
                named(json!({"healthchecks": {"active": {"healthy": {"http_statuses": [1]}}}})),
                json!({"healthchecks": {"active": {"healthy": {
                    "http_statuses": [format!("{BETWEEN} 100 and 999")],
                }}}}),
            ),
        ],
    )
    .await;
    let taken = "UNIQUE violation detected on '{name=\"u\"}'";
    answers(&app, vec![("POST", "/upstreams".into(), json!({"name": "u"}), 409, taken)]).await;
}

#[tokio::test]
async fn targets() {
    let app = start().await;
    let to = reference(&accept(&app, "/upstreams", json!({"name": "u"}), json!({})).await);
    let path = "/upstreams/u/targets";
    for (target, kept) in [
        ("a.test", "a.test:8000"),
        ("a.test:80", "a.test:80"),
        ("10.0.0.1", "10.0.0.1:8000"),
        ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
    ] {
        let shown = json!({"target": kept, "weight": 100, "upstream": to});
        accept(&app, path, json!({"target": target}), shown).await;
    }
    let target =
        |text: &str| format!("Invalid target ('{text}'); not a valid hostname or ip address");
    refuse(
        &app,
        path,
        vec![
            (json!({}), json!({"target": "required field missing"})),
            (json!({"target": "a b"}), json!({"target": target("a b")})),
            (
                json!({"target": "b", "weight": 65536}),
                json!({"weight": format!("{BETWEEN} 0 and 65535")}),
            ),
        ],
    )
    .await;
    let again = json!({"target": "a.test"});
    answers(
        &app,
        vec![
            ("POST", path.into(), again, 409, ""),
            ("GET", "/targets".into(), Value::Null, 404, "Not found"),
            ("DELETE", "/upstreams/u/targets/a.test".into(), Value::Null, 204, ""),
            ("DELETE", "/upstreams/u".into(), Value::Null, 204, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn filter_chains_ask_for_wasm() {
    let app = start().await;
    app.populate().await;
    let off = "this endpoint is only available when wasm is enabled";
    let none = Value::Null;
    answers(
        &app,
        vec![
            ("GET", "/filter-chains".into(), none.clone(), 400, off),
            ("POST", "/filter-chains".into(), json!({"name": "f"}), 400, off),
            ("GET", "/filter-chains/f/route".into(), none.clone(), 400, off),
            ("PUT", "/services/s/filter-chains/f".into(), json!({}), 400, off),
            ("GET", "/consumers/c/filter-chains".into(), none, 404, "Not found"),
        ],
    )
    .await;
}

#[tokio::test]
async fn plugins_are_one_of_a_name_in_a_scope() {
    let app = start().await;
    app.populate().await;
    accept(&app, "/consumers", json!({"username": "c"}), json!({})).await;
    let cors = |more: Value| {
        let mut body = json!({"name": "correlation-id"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for scope in [
        json!({}),
        json!({"service": {"name": "s"}}),
        json!({"route": {"name": "r"}}),
        json!({"consumer": {"username": "c"}}),
        json!({"route": {"name": "r"}, "consumer": {"username": "c"}}),
    ] {
        let made = accept(&app, "/plugins", cors(scope.clone()), json!({"enabled": true})).await;
        let again = app.send("POST", "/plugins", cors(scope)).await;
        assert_eq!((again.status.as_u16(), &again.json()["code"]), (409, &json!(5)));
        for field in ["route", "service", "consumer"] {
            let path = format!("/plugins/{}/{field}", made["id"].as_str().unwrap());
            let status = if made[field].is_null() { 404 } else { 200 };
            assert_eq!(app.get(&path).await.status, status, "{path}");
        }
    }
    let named = cors(json!({"instance_name": "one", "service": {"name": "other"}}));
    accept(&app, "/plugins", named, json!({"instance_name": "one"})).await;
    refuse(
        &app,
        "/plugins",
        vec![
            (
                json!({"name": "key-auth", "consumer": {"username": "c"}}),
                json!({"consumer": "value must be null"}),
            ),
            (
                cors(json!({"protocols": ["tcp"]})),
                json!({"protocols": ["expected one of: grpc, grpcs, http, https"]}),
            ),
            (
                json!({"name": "key-auth", "protocols": ["grpc"], "route": {"name": "r"}}),
                json!({"protocols": "must match the associated route's protocols"}),
            ),
            (
                json!({"name": "key-auth", "protocols": ["grpc"], "service": {"name": "s"}}),
                json!({"protocols": "must match the protocols of at least one route pointing to \
                                     this Plugin's service"}),
            ),
            (cors(json!({"ordering": {}})), json!({"ordering": "unknown field"})),
        ],
    )
    .await;
    let other = json!({"name": "key-auth", "instance_name": "one"});
    let taken = "UNIQUE violation detected on '{instance_name=\"one\"}'";
    answers(
        &app,
        vec![
            ("POST", "/plugins".into(), other, 409, taken),
            ("GET", "/plugins/one".into(), Value::Null, 200, ""),
            ("GET", "/consumers/c/plugins".into(), Value::Null, 200, ""),
            ("DELETE", "/routes/r".into(), Value::Null, 204, ""),
            ("DELETE", "/services/other".into(), Value::Null, 204, ""),
            ("GET", "/plugins/one".into(), Value::Null, 404, "Not found"),
        ],
    )
    .await;
    let left = app.get("/plugins").await.json()["data"].as_array().unwrap().len();
    assert_eq!(left, 3, "those of the route and of the other service went with them");
}
