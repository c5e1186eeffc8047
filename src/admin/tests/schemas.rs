//! What `/schemas/…` shows, and what it accepts.

use serde_json::{Value, json};

use super::app::App;

#[tokio::test]
async fn schemas_are_described_by_kind_and_by_plugin() {
    let app = App::with_plugins().await;
    for (path, at, expected) in [
        ("/schemas/services", "/fields/0/id/uuid", json!(true)),
        ("/schemas/services/", "/entity_checks/0/conditional/then_field", json!("path")),
        ("/schemas/keyauth_credentials", "/fields/2/consumer/reference", json!("consumers")),
        ("/schemas/plugins", "/fields/8/config/abstract", json!(true)),
        ("/schemas/plugins/key-auth", "/fields/0/consumer/eq", Value::Null),
        (
            "/schemas/plugins/key-auth",
            "/fields/2/config/fields/0/key_names/default",
            json!(["apikey"]),
        ),
        ("/plugins/schema/key-auth", "/fields/0/key_names/type", json!("array")),
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(answer.json().pointer(at), Some(&expected), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_has_no_schema_is_named() {
    let app = App::with_plugins().await;
    for (path, message) in [
        ("/schemas/key-sets", "No entity named 'key-sets'"),
        ("/schemas/a%20b", "No entity named 'a b'"),
        ("/schemas/plugins/nope", "No plugin named 'nope'"),
        ("/plugins/schema/nope", "No plugin named 'nope'"),
        ("/schemas/vaults/nope", "No vault named 'nope'"),
        ("/schemas/filters/nope", "Filter 'nope' not found"),
        ("/schemas", "Not found"),
        ("/schemas/services/nope", "Not found"),
    ] {
        let answer = app.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({"message": message})));
    }
    for (method, path, status) in [
        ("GET", "/schemas/services/validate", 405),
        ("GET", "/schemas/plugins/validate", 405),
        ("POST", "/schemas/services", 405),
        ("HEAD", "/schemas/services", 200),
        ("OPTIONS", "/schemas/services/validate", 204),
    ] {
        assert_eq!(app.send(method, path, Value::Null).await.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn documents_are_checked_and_not_stored() {
    let app = App::with_plugins().await;
    app.populate().await;
    let nowhere = json!({"id": super::app::ABSENT});
    let good = json!({"message": "schema validation successful"});
    for (kind, document, refused) in [
        ("services", json!({"name": "s", "host": "a"}), None),
        ("services", json!({"url": "http://a:1"}), None),
        ("services", json!({}), Some(("host", json!("required field missing")))),
        ("services", json!({"host": "a", "x": 1}), Some(("x", json!("unknown field")))),
        ("routes", json!({"paths": ["/a"], "service": nowhere}), None),
        ("plugins", json!({"name": "key-auth", "service": nowhere}), None),
        ("tags", json!({"tag": "a", "entity_name": "services"}), None),
        ("tags", json!({"tag": "a"}), Some(("entity_name", json!("required field missing")))),
        ("plugins", json!({}), Some(("name", json!("required field missing")))),
        (
            "plugins",
            json!({"name": "nope"}),
            Some((
                "name",
                json!("plugin 'nope' not enabled; add it to the 'plugins' configuration property"),
            )),
        ),
        (
            "plugins",
            json!({"name": "key-auth", "consumer": nowhere}),
            Some(("consumer", json!("value must be null"))),
        ),
        (
            "plugins",
            json!({"name": "key-auth", "protocols": ["tcp"]}),
            Some(("protocols", json!(["expected one of: grpc, grpcs, http, https"]))),
        ),
        (
            "plugins",
            json!({"name": "key-auth", "config": {"key_names": ["a b"], "nope": 1}}),
            Some((
                "config",
                json!({
                    "key_names": ["bad header name 'a b', allowed characters are A-Z, a-z, 0-9, \
                                   '_', and '-'"],
                    "nope": "unknown field",
                }),
            )),
        ),
    ] {
        let path = format!("/schemas/{kind}/validate");
        let answer = app.send("POST", &path, document.clone()).await;
        match refused {
            None => assert_eq!((answer.status.as_u16(), answer.json()), (200, good.clone())),
            Some((field, said)) => {
                assert_eq!(answer.status, 400, "{document}: {}", answer.text);
                let body = answer.json();
                assert_eq!(body["code"], 2, "{document}");
                assert_eq!(body["fields"], json!({field: said}), "{document}");
            }
        }
    }
    let form = app.form("POST", "/schemas/services/validate", "host=a&port=80").await;
    assert_eq!(form.status, 200, "{}", form.text);
    let absent = app.send("POST", "/schemas/nope/validate", json!({})).await;
    assert_eq!(
        (absent.status.as_u16(), absent.json()),
        (404, json!({"message": "No entity named 'nope'"}))
    );
    assert_eq!(app.get("/plugins").await.json()["data"], json!([]));
}

#[tokio::test]
async fn old_names_of_fields_are_taken_and_shown() {
    let app = App::with_plugins().await;
    let form = "name=rate-limiting&config.minute=5&config.redis_port=6380&config.redis_host=a";
    let answer = app.form("POST", "/plugins", form).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let plugin = answer.json();
    let config = &plugin["config"];
    assert_eq!((&config["redis"]["port"], &config["redis_port"]), (&json!(6380), &json!(6380)));
    assert_eq!((&config["redis"]["host"], &config["redis_host"]), (&json!("a"), &json!("a")));

    let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
    let patch = |config: Value| app.send("PATCH", &path, json!({"config": config}));
    let answer = patch(json!({"redis_host": "b"})).await;
    assert_eq!(answer.json()["config"]["redis"]["host"], "b", "{}", answer.text);
    assert_eq!(answer.json()["config"]["redis"]["port"], 6380);
    let answer = patch(answer.json()["config"].clone()).await;
    assert_eq!(answer.status, 200, "what was read can be sent back: {}", answer.text);
    let answer = patch(json!({"redis_host": "c", "redis": {"host": "d"}})).await;
    assert_eq!(
        answer.json()["fields"],
        json!({"redis_host": "both deprecated and new field are used but their values mismatch: \
                              redis_host = c vs redis.host = d"})
    );
}
