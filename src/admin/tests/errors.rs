//! Error bodies, word for word (reference gateway-2, section B.3).

use serde_json::{Value, json};

use super::app::{ABSENT, App};

fn refusal(code: u8, name: &str, message: &str, fields: &Value) -> Value {
    json!({"code": code, "name": name, "message": message, "fields": fields})
}

#[tokio::test]
async fn references_say_what_is_wrong_with_them() {
    let app = App::start().await;
    app.populate().await;
    let with = |service: Value| json!({"paths": ["/a"], "service": service});
    let schema = |text: &str, error: Value| {
        refusal(
            2,
            "schema violation",
            &format!("schema violation ({text})"),
            &json!({"service": error}),
        )
    };
    let no_uuid =
        schema("service.id: expected a valid UUID", json!({"id": "expected a valid UUID"}));
    let no_key = schema("service.id: missing primary key", json!({"id": "missing primary key"}));
    let required =
        schema("service.id: required field missing", json!({"id": "required field missing"}));
    let text = format!(
        "the foreign key '{{id=\"{ABSENT}\"}}' does not reference an existing 'services' entity."
    );
    let dangling = refusal(4, "foreign key violation", &text, &json!({"service": {"id": ABSENT}}));
    let why = "the foreign key cannot be resolved with '{name=\"x\"}' for an existing 'services' \
               entity";
    let unresolved = refusal(
        13,
        "foreign keys unresolved",
        &format!("foreign key unresolved (service.name: {why})"),
        &json!({"service": {"name": why}}),
    );
    for (service, expected) in [
        (json!("s"), no_key.clone()),
        (json!({"id": "x"}), no_uuid),
        (json!({}), no_key.clone()),
        (json!({"host": "a"}), no_key),
        (json!({"id": null}), required),
        (json!({"id": ABSENT}), dangling),
        (json!({"name": "x"}), unresolved),
    ] {
        app.expect(("POST", "/routes"), with(service.clone()), 400, expected.clone()).await;
        app.expect(("PUT", "/routes/new"), with(service.clone()), 400, expected.clone()).await;
        app.expect(("PATCH", "/routes/r"), with(service), 400, expected).await;
    }
    app.expect(("POST", "/routes"), with(json!({"name": "s"})), 201, Value::Null).await;
}

#[tokio::test]
async fn all_references_that_lead_nowhere_are_told_at_once() {
    let app = App::with_plugins().await;
    let body = json!({
        "name": "correlation-id",
        "route": {"name": "r"},
        "consumer": {"username": "u", "custom_id": "c"},
    });
    let why = |key: &str, kind: &str| {
        format!(
            "the foreign key cannot be resolved with '{{{key}}}' for an existing '{kind}' entity"
        )
    };
    let (custom, user) = (why("custom_id=\"c\"", "consumers"), why("username=\"u\"", "consumers"));
    let route = why("name=\"r\"", "routes");
    let message = format!(
        "3 foreign keys unresolved (consumer.custom_id: {custom}; consumer.username: {user}; \
         route.name: {route})"
    );
    let fields = json!({
        "consumer": {"custom_id": custom, "username": user},
        "route": {"name": route},
    });
    let expected = refusal(13, "foreign keys unresolved", &message, &fields);
    app.expect(("POST", "/plugins"), body, 400, expected).await;
}

#[tokio::test]
async fn names_that_nothing_can_have_are_refused() {
    let app = App::start().await;
    app.populate().await;
    let text = "invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, \
                _, and ~";
    let expected = json!({"code": 10, "name": "invalid unique name", "message": text});
    for path in [
        "/services/a%20b",
        "/services/a%20b/routes",
        "/services/s/routes/a%20b",
        "/services/a%20b/routes/r",
        "/routes/a+b/service",
    ] {
        app.expect(("GET", path), Value::Null, 400, expected.clone()).await;
    }
    for method in ["PUT", "PATCH", "DELETE"] {
        let body = if method == "DELETE" { Value::Null } else { json!({"host": "a"}) };
        app.expect((method, "/services/a%20b"), body, 400, expected.clone()).await;
    }
    // A consumer may be called anything.
    assert_eq!(app.get("/consumers/a%20b").await.status, 404);
}

#[tokio::test]
async fn errors_deeper_than_one_level_are_printed_as_lua_tables() {
    let app = App::start().await;
    let unhealthy = json!({"tcp_failures": 300, "timeouts": "x"});
    let body = json!({"name": "u", "healthchecks": {"active": {"unhealthy": unhealthy}}});
    let answer = app.send("POST", "/upstreams", body).await.json();
    let message = "schema violation (healthchecks.active: {\n  unhealthy = {\n    \
                   tcp_failures = \"value should be between 0 and 255\",\n    \
                   timeouts = \"expected an integer\"\n  }\n})";
    assert_eq!(answer["message"], message);

    let body = json!({"name": "u", "healthchecks": {"active": {"http-path": "/", "type": "x"}}});
    let answer = app.send("POST", "/upstreams", body).await.json();
    let message = "schema violation (healthchecks.active: {\n  \
                   [\"http-path\"] = \"unknown field\",\n  \
                   type = \"expected one of: tcp, http, https, grpc, grpcs\"\n})";
    assert_eq!(answer["message"], message);
}

#[tokio::test]
async fn keys_in_messages_are_lua_literals() {
    let app = App::with_plugins().await;
    app.create("/consumers", json!({"username": "say \"hi\"\\"})).await;
    let taken = app.send("POST", "/consumers", json!({"username": "say \"hi\"\\"})).await;
    assert_eq!(taken.status, 409);
    let message = r#"UNIQUE violation detected on '{username="say \"hi\"\\"}'"#;
    assert_eq!(taken.json()["message"], message);

    let plugin = json!({"name": "correlation-id"});
    app.create("/plugins", plugin.clone()).await;
    let taken = app.send("POST", "/plugins", plugin).await;
    let fields =
        json!({"consumer": null, "name": "correlation-id", "route": null, "service": null});
    let message = "UNIQUE violation detected on '{consumer=null,name=\"correlation-id\",route=null,\
                   service=null}'";
    let expected = refusal(5, "unique constraint violation", message, &fields);
    assert_eq!((taken.status.as_u16(), taken.json()), (409, expected));
}

#[tokio::test]
async fn many_violations_are_counted() {
    let app = App::start().await;
    let body = json!({"name": "a b", "port": 70000, "hosts": []});
    let answer = app.send("POST", "/services", body).await.json();
    let name = "invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, \
                _, and ~";
    let fields = json!({
        "host": "required field missing",
        "hosts": "unknown field",
        "name": name,
        "port": "value should be between 0 and 65535",
    });
    let message = format!(
        "4 schema violations (host: required field missing; hosts: unknown field; name: {name}; \
         port: value should be between 0 and 65535)"
    );
    assert_eq!(answer, refusal(2, "schema violation", &message, &fields));

    let answer = app.send("POST", "/routes", json!({"paths": ["/a", "b", "/c"]})).await.json();
    let text = "should start with: / (fixed path) or ~/ (regex path)";
    assert_eq!(answer["message"], format!("schema violation (paths.2: {text})"));
    assert_eq!(answer["fields"], json!({"paths": [null, text]}));
}

#[tokio::test]
async fn an_update_says_so() {
    let app = App::start().await;
    app.create("/consumers", json!({"username": "c"})).await;
    let text = "when updating, at least one of these fields must be non-empty: 'custom_id', \
                'username'";
    let expected = refusal(
        2,
        "schema violation",
        &format!("schema violation ({text})"),
        &json!({"@entity": [text]}),
    );
    app.expect(("PATCH", "/consumers/c"), json!({"username": null}), 400, expected).await;
}

#[tokio::test]
async fn ids_are_checked_where_they_stand() {
    let app = App::with_plugins().await;
    app.populate().await;
    let id = app.get("/services/s").await.json()["id"].clone();
    let no_uuid = refusal(
        2,
        "schema violation",
        "schema violation (id: expected a valid UUID)",
        &json!({"id": "expected a valid UUID"}),
    );
    for bad in [json!("x"), json!("")] {
        let body = json!({"id": bad, "host": "a"});
        let answer = app.send("POST", "/services", body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    app.expect(("POST", "/services"), json!({"id": "x", "host": "a"}), 400, no_uuid).await;
    app.expect(("PATCH", "/services/s"), json!({"id": "x"}), 200, Value::Null).await;
    // A new name with an id that another entity has: Kong runs into the primary key.
    let body = json!({"id": id, "host": "z"});
    let taken = format!("primary key violation on key '{{id={id}}}'");
    let expected = refusal(3, "primary key violation", &taken, &json!({"id": id}));
    app.expect(("PUT", "/services/fresh"), body, 400, expected).await;
    assert_eq!(app.get("/services/s").await.json()["host"], "a");

    let upper = id.as_str().unwrap().to_uppercase();
    assert_eq!(app.get(&format!("/services/{upper}")).await.json()["id"], id);
    let body = json!({"name": "up", "host": "a", "id": "ABCDEF00-0000-4000-8000-000000000001"});
    assert_eq!(app.create("/services", body).await, "abcdef00-0000-4000-8000-000000000001");
    let route = json!({"paths": ["/u"], "service": {"id": upper}});
    assert_eq!(app.send("POST", "/routes", route).await.json()["service"]["id"], id);
}
