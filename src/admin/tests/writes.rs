//! What PUT and PATCH do to what is there (reference gateway-2, section B.2).

use serde_json::{Value, json};

use super::app::{ABSENT, App};

/// Returns the value at a pointer of what GET answers.
async fn at(app: &App, path: &str, pointer: &str) -> Value {
    app.get(path).await.json().pointer(pointer).cloned().unwrap_or(json!("absent"))
}

#[tokio::test]
async fn patch_merges_records_and_replaces_the_rest() {
    let app = App::start().await;
    let active = json!({"http_path": "/h", "headers": {"a": ["1"]}, "healthy": {"interval": 5}});
    let body = json!({"name": "u", "tags": ["x", "y"], "healthchecks": {"active": active}});
    app.create("/upstreams", body).await;
    let path = "/upstreams/u";
    let checks = "/healthchecks/active";
    for (patch, pointer, value) in [
        (json!({}), "/tags", json!(["x", "y"])),
        (json!({"slots": 100}), "/slots", json!(100)),
        (json!({"tags": ["z"]}), "/tags", json!(["z"])),
        (json!({"tags": []}), "/tags", json!([])),
        (json!({"tags": null}), "/tags", Value::Null),
        (
            json!({"healthchecks": {"active": {"healthy": {"successes": 2}}}}),
            "/healthchecks/active/healthy/interval",
            json!(5),
        ),
        (json!({"healthchecks": {"threshold": 1}}), "/healthchecks/active/http_path", json!("/h")),
        (
            json!({"healthchecks": {"active": {"headers": {"b": ["2"]}}}}),
            "/healthchecks/active/headers",
            json!({"b": ["2"]}),
        ),
        (
            json!({"healthchecks": {"active": {"headers": null}}}),
            "/healthchecks/active/headers",
            Value::Null,
        ),
        (
            json!({"healthchecks": {"active": {"healthy": {"http_statuses": [201]}}}}),
            "/healthchecks/active/healthy/http_statuses",
            json!([201]),
        ),
    ] {
        let answer = app.send("PATCH", path, patch.clone()).await;
        assert_eq!(answer.status, 200, "{patch}: {}", answer.text);
        assert_eq!(answer.json().pointer(pointer), Some(&value), "{patch}");
        assert_eq!(at(&app, path, pointer).await, value, "{patch}");
    }
    assert_eq!(at(&app, path, checks).await["healthy"]["successes"], 2);
}

#[tokio::test]
async fn null_clears_or_is_refused_and_is_never_a_default() {
    let app = App::start().await;
    app.create("/services", json!({"name": "s", "host": "a", "path": "/p"})).await;
    for (method, path, body, expected) in [
        ("PATCH", "/services/s", json!({"path": null}), Ok(("/path", Value::Null))),
        ("PATCH", "/services/s", json!({"retries": null}), Ok(("/retries", Value::Null))),
        ("PATCH", "/services/s", json!({"port": null}), Err("port: required field missing")),
        ("PATCH", "/services/s", json!({"host": null}), Err("host: required field missing")),
        (
            "POST",
            "/services",
            json!({"host": "a", "port": null}),
            Err("port: required field missing"),
        ),
        ("POST", "/services", json!({"host": "a", "retries": null}), Ok(("/retries", Value::Null))),
        (
            "PUT",
            "/services/t",
            json!({"host": "a", "retries": null}),
            Ok(("/retries", Value::Null)),
        ),
        ("PUT", "/services/t", json!({"host": "a"}), Ok(("/retries", json!(5)))),
        ("POST", "/services", json!({"host": "a", "id": null}), Ok(("/name", Value::Null))),
    ] {
        let answer = app.send(method, path, body.clone()).await;
        match expected {
            Ok((pointer, value)) => {
                assert!(answer.status.is_success(), "{method} {body}: {}", answer.text);
                assert_eq!(answer.json().pointer(pointer), Some(&value), "{method} {body}");
            }
            Err(text) => {
                assert_eq!(answer.json()["message"], format!("schema violation ({text})"));
            }
        }
    }
}

#[tokio::test]
async fn put_replaces_everything_and_patch_keeps_the_rest() {
    let app = App::start().await;
    let full = json!({"name": "s", "host": "a", "port": 81, "tags": ["t"], "retries": 1});
    let id = app.create("/services", full).await;
    let put = app.send("PUT", &format!("/services/{id}"), json!({"host": "b"})).await.json();
    for (field, value) in [
        ("id", json!(id)),
        ("name", Value::Null),
        ("host", json!("b")),
        ("port", json!(80)),
        ("tags", Value::Null),
        ("retries", json!(5)),
    ] {
        assert_eq!(put[field], value, "{field}");
    }
    let patch = app.send("PATCH", &format!("/services/{id}"), json!({"name": "n"})).await.json();
    assert_eq!((&patch["host"], &patch["name"]), (&json!("b"), &json!("n")));
    let other = json!({"id": ABSENT, "name": "other", "host": "c"});
    let named = app.send("PUT", "/services/n", other.clone()).await.json();
    assert_eq!((&named["id"], &named["name"]), (&json!(id), &json!("n")));
    let by_id = app.send("PUT", &format!("/services/{id}"), other.clone()).await.json();
    assert_eq!((&by_id["id"], &by_id["name"]), (&json!(id), &json!("other")));
    let patched = app.send("PATCH", "/services/other", json!({"id": ABSENT})).await.json();
    assert_eq!(patched["id"], id);
    let created = app.send("PUT", "/services/made", other).await.json();
    assert_eq!((&created["id"], &created["name"]), (&json!(ABSENT), &json!("made")));
}

#[tokio::test]
async fn creation_times_are_the_clients_to_set() {
    let app = App::start().await;
    let body = json!({"name": "s", "host": "a", "created_at": 1000, "updated_at": 2000});
    let made = app.send("POST", "/services", body).await.json();
    assert_eq!(made["created_at"], 1000);
    assert!(made["updated_at"].as_i64().unwrap() > 2000, "always the time of the write");
    for (method, body, created_at) in [
        ("PATCH", json!({"retries": 1}), Some(1000)),
        ("PATCH", json!({"created_at": 3000}), Some(3000)),
        ("PUT", json!({"host": "a", "created_at": 4000}), Some(4000)),
        ("PUT", json!({"host": "b"}), None),
    ] {
        let answer = app.send(method, "/services/s", body.clone()).await.json();
        match created_at {
            Some(seconds) => assert_eq!(answer["created_at"], seconds, "{method} {body}"),
            None => assert!(answer["created_at"].as_i64().unwrap() > 4000, "{method} {body}"),
        }
    }
    let refused = app.send("POST", "/services", json!({"host": "a", "created_at": "now"})).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
}

#[tokio::test]
async fn references_can_be_moved_and_taken_away() {
    let app = App::start().await;
    app.populate().await;
    let id = |text: &str| json!({"id": text});
    let s = app.get("/services/s").await.json()["id"].as_str().unwrap().to_owned();
    let other = app.get("/services/other").await.json()["id"].as_str().unwrap().to_owned();
    for (method, path, body, service) in [
        ("PATCH", "/routes/r", json!({"service": {"name": "other"}}), id(&other)),
        ("PATCH", "/routes/r", json!({"service": null}), Value::Null),
        ("PATCH", "/routes/r", json!({"service": {"id": s}}), id(&s)),
        ("PATCH", "/services/s/routes/r", json!({"service": {"id": other}}), id(&other)),
        ("PATCH", "/services/other/routes/r", json!({"strip_path": false}), id(&other)),
        ("PUT", "/services/s/routes/r", json!({"paths": ["/a"], "service": null}), id(&s)),
        ("PUT", "/routes/r", json!({"paths": ["/a"]}), Value::Null),
    ] {
        let answer = app.send(method, path, body.clone()).await;
        assert_eq!(answer.status, 200, "{method} {path} {body}: {}", answer.text);
        assert_eq!(answer.json()["service"], service, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn children_are_theirs_alone_under_a_parent() {
    let app = App::with_plugins().await;
    app.populate().await;
    let r = app.get("/routes/r").await.json()["id"].as_str().unwrap().to_owned();
    let consumer = app.create("/consumers", json!({"username": "c"})).await;
    app.create("/consumers", json!({"username": "d"})).await;
    let plugin = app.create("/services/s/plugins", json!({"name": "correlation-id"})).await;
    let key = app.create("/consumers/c/key-auth", json!({"key": "k"})).await;
    let absent = ["/services/s/routes/", ABSENT].concat();
    let moved = ["/services/other/plugins/", &plugin].concat();
    let mine = ["/services/s/plugins/", &plugin].concat();
    let route = ["/services/s/routes/", &r].concat();
    let not_found = json!({"message": "Not found"});
    for (method, path, body, status) in [
        ("GET", &*route, Value::Null, 200),
        ("GET", &absent, Value::Null, 404),
        ("PATCH", &absent, json!({}), 404),
        ("DELETE", &absent, Value::Null, 404),
        ("GET", &moved, Value::Null, 404),
        ("PATCH", &moved, json!({"enabled": false}), 404),
        ("DELETE", &moved, Value::Null, 404),
        ("GET", &mine, Value::Null, 200),
        ("PATCH", &mine, json!({"enabled": false}), 200),
        ("GET", "/consumers/c/key-auth/k", Value::Null, 200),
        ("GET", "/consumers/d/key-auth/k", Value::Null, 404),
        ("DELETE", "/consumers/d/key-auth/k", Value::Null, 404),
        ("GET", "/consumers/nobody/key-auth/k", Value::Null, 404),
        ("GET", "/key-auths/k/consumer", Value::Null, 200),
        ("DELETE", "/key-auths/k/consumer", Value::Null, 405),
        ("PATCH", "/key-auths/k/consumer", json!({"custom_id": "x"}), 200),
        ("PUT", "/key-auths/k/consumer", json!({"username": "c"}), 200),
        ("PUT", &["/consumers/d/key-auth/", &key].concat(), json!({"key": "k"}), 200),
        ("GET", "/consumers/d/key-auth/k", Value::Null, 200),
        ("DELETE", &mine, Value::Null, 204),
        ("DELETE", &mine, Value::Null, 404),
    ] {
        let body_of_404 = if status == 404 { not_found.clone() } else { Value::Null };
        app.expect((method, path), body, status, body_of_404).await;
    }
    let shown = app.get("/consumers/c").await.json();
    assert_eq!((&shown["id"], &shown["custom_id"]), (&json!(consumer), &Value::Null), "replaced");
}

#[tokio::test]
async fn a_route_without_service_has_none_to_change() {
    let app = App::start().await;
    app.create("/routes", json!({"name": "lone", "paths": ["/l"]})).await;
    for method in ["GET", "PATCH", "DELETE"] {
        let body = if method == "PATCH" { json!({"port": 1}) } else { Value::Null };
        let not_found = json!({"message": "Not found"});
        app.expect((method, "/routes/lone/service"), body, 404, not_found).await;
    }
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        let body = if method.starts_with('P') { json!({"host": "a"}) } else { Value::Null };
        app.expect((method, "/routes/nobody/service"), body, 404, json!({"message": "Not found"}))
            .await;
    }
    app.expect(
        ("POST", "/routes/lone/service"),
        json!({}),
        405,
        json!({"message": "Method not allowed"}),
    )
    .await;
    assert_eq!(app.send("PUT", "/routes/lone/service", json!({})).await.status, 400);
    assert_eq!(app.get("/routes/lone").await.json()["service"], Value::Null);
}

#[tokio::test]
async fn a_refused_write_changes_nothing() {
    let app = App::start().await;
    app.populate().await;
    let before = app.get("/").await.json()["config_hash"].clone();
    for (method, path, body) in [
        ("POST", "/services", json!({"name": "s", "host": "a"})),
        ("PUT", "/services/s", json!({"host": 1})),
        ("PATCH", "/services/s", json!({"retries": -1})),
        ("PATCH", "/services/s", json!({"name": "other"})),
        ("DELETE", "/services/s", Value::Null),
        ("PUT", "/routes/r", json!({"service": {"id": ABSENT}, "paths": ["/a"]})),
    ] {
        let status = app.send(method, path, body.clone()).await.status;
        assert!(status.is_client_error(), "{method} {path} {body}");
    }
    assert_eq!(app.get("/").await.json()["config_hash"], before);
}
