//! Each verb against what is there and what is not (reference gateway-2, sections B.2 and B.3).

use serde_json::{Value, json};

use super::app::{ABSENT, App};
use crate::admin::Options;

#[tokio::test]
async fn every_verb_has_its_status() {
    let app = App::start().await;
    app.populate().await;
    let id = app.get("/services/s").await.json()["id"].as_str().unwrap().to_owned();
    let absent = |path: &str| path.replace("{absent}", ABSENT).replace("{s}", &id);
    let host = json!({"host": "b"});
    let path = json!({"paths": ["/b"]});
    let none = Value::Null;
    for (method, path, body, status) in [
        ("GET", "/services", &none, 200),
        ("GET", "/consumers", &none, 200),
        ("GET", "/services/{s}", &none, 200),
        ("GET", "/services/{absent}", &none, 404),
        ("GET", "/services/nobody", &none, 404),
        ("GET", "/services/s/routes", &none, 200),
        ("GET", "/services/nobody/routes", &none, 404),
        ("GET", "/services/s/routes/r", &none, 200),
        ("GET", "/services/other/routes/r", &none, 404),
        ("GET", "/routes/r/service", &none, 200),
        ("POST", "/services/nobody/routes", &path, 404),
        ("POST", "/services/s/routes", &path, 201),
        ("PUT", "/services/new", &host, 200),
        ("PUT", "/services/new", &host, 200),
        ("PUT", "/services/{absent}", &host, 200),
        ("DELETE", "/services/{absent}", &none, 204),
        ("PUT", "/services/s/routes/fresh", &path, 200),
        ("PUT", "/services/nobody/routes/fresh", &path, 404),
        ("PATCH", "/services/new", &json!({}), 200),
        ("PATCH", "/services/nobody", &json!({}), 404),
        ("PATCH", "/services/s/routes/fresh", &json!({"strip_path": false}), 200),
        ("PATCH", "/services/other/routes/fresh", &json!({}), 404),
        ("PATCH", "/plugins/{absent}", &json!({}), 404),
        ("DELETE", "/services/new", &none, 204),
        ("DELETE", "/services/new", &none, 204),
        ("DELETE", "/services/other/routes/fresh", &none, 404),
        ("DELETE", "/services/s/routes/fresh", &none, 204),
        ("DELETE", "/services/s/routes/fresh", &none, 404),
        ("DELETE", "/routes/r/service", &none, 405),
        ("DELETE", "/services/s", &none, 400),
        ("POST", "/services/s", &host, 405),
        ("PUT", "/services", &host, 405),
        ("TRACE", "/services", &none, 405),
        ("GET", "/nope", &none, 404),
        ("OPTIONS", "/nope", &none, 404),
        ("GET", "/services/%00", &none, 400),
    ] {
        let answer = app.send(method, &absent(path), body.clone()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        let is_json = answer.header("content-type") == "application/json; charset=utf-8";
        assert_eq!(is_json, !answer.text.is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn broken_documents_are_refused_field_by_field() {
    let app = App::start().await;
    let neither = "at least one of these fields must be non-empty: 'custom_id', 'username'";
    let no_path =
        "must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'";
    for (path, body, text, fields) in [
        (
            "/services",
            json!({}),
            "host: required field missing",
            json!({"host": "required field missing"}),
        ),
        (
            "/services",
            json!({"host": "a", "foo": 1}),
            "foo: unknown field",
            json!({"foo": "unknown field"}),
        ),
        ("/routes", json!({"protocols": ["http"]}), no_path, json!({"@entity": [no_path]})),
        ("/consumers", Value::Null, neither, json!({"@entity": [neither]})),
    ] {
        let answer = app.send("POST", path, body).await;
        let message = format!("schema violation ({text})");
        let expected =
            json!({"code": 2, "name": "schema violation", "message": message, "fields": fields});
        assert_eq!((answer.status.as_u16(), answer.json()), (400, expected), "{path}");
    }
    let plugin = app.send("POST", "/plugins", json!({"name": "nope"})).await.json();
    let text = "plugin 'nope' not enabled; add it to the 'plugins' configuration property";
    assert_eq!(plugin["fields"], json!({"name": text}));
}

#[tokio::test]
async fn clashes_and_absences_have_kongs_bodies() {
    let app = App::start().await;
    app.populate().await;
    let id = app.get("/services/s").await.json()["id"].as_str().unwrap().to_owned();
    let refusal = |code: u8, name: &str, message: &str, fields: Value| json!({"code": code, "name": name, "message": message, "fields": fields});
    let exists = format!("primary key violation on key '{{id=\"{id}\"}}'");
    let taken = "UNIQUE violation detected on '{name=\"s\"}'";
    let needed = "an existing 'routes' entity references this 'services' entity";
    let gone = "could not find the entity with '{name=\"nobody\"}'";
    let unique = refusal(5, "unique constraint violation", taken, json!({"name": "s"}));
    let primary = refusal(3, "primary key violation", &exists, json!({"id": id}));
    let foreign = refusal(4, "foreign key violation", needed, json!({"@referenced_by": "routes"}));
    let absent = refusal(6, "not found", gone, json!({"name": "nobody"}));
    let plain = |text: &str| json!({"message": text});
    for (method, path, body, status, expected) in [
        ("POST", "/services", json!({"name": "s", "host": "a"}), 409, unique),
        ("POST", "/services", json!({"id": id, "host": "a"}), 400, primary),
        ("DELETE", "/services/s", Value::Null, 400, foreign),
        ("PATCH", "/services/nobody", json!({}), 404, absent),
        ("GET", "/services/nobody", Value::Null, 404, plain("Not found")),
        ("PATCH", "/plugins/nobody", json!({}), 404, plain("Not found")),
        ("PUT", "/services", json!({}), 405, plain("Method not allowed")),
    ] {
        let answer = app.send(method, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (status, expected), "{method} {path}");
    }
}

#[tokio::test]
async fn without_a_log_reads_go_on_and_writes_say_so() {
    let app = App::start().await;
    app.populate().await;
    app.stop_writer().await;
    let answer = app.send("PUT", "/services/s", json!({"host": "b"})).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(app.get("/services/s").await.json()["host"], "a");
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let options = Options { body_bytes_max: 64, ..Options::default() };
    let app = App::with(options).await;
    let json = "application/json";
    let long = format!("{{\"host\":\"{}\"}}", "a".repeat(64));
    let unread = "Cannot parse JSON body";
    for (content_type, body, status, message) in [
        (Some(json), "{", 400, unread),
        (Some(json), "[]", 400, unread),
        (Some(json), "null", 400, unread),
        (Some(json), &long, 413, "request body too large: at most 64 bytes are accepted"),
        (Some("Application/JSON"), "{}", 415, ""),
        (Some("text/plain"), "host=a", 415, ""),
        (None, "{}", 415, ""),
        (Some("multipart/form-data"), "x", 400, "Cannot parse multipart/form-data body"),
    ] {
        let headers: Vec<_> = content_type.into_iter().map(|ty| ("content-type", ty)).collect();
        let answer = app.send_raw("POST", "/services", &headers, body).await;
        assert_eq!(answer.status, status, "{content_type:?} {body}");
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said == message || message.is_empty(), "{said}");
        // A page must be able to read why it was refused.
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    // The body of a GET is ignored, whatever its type.
    assert_eq!(app.send_raw("GET", "/services", &[("content-type", "a/b")], "x").await.status, 200);
}

#[tokio::test]
async fn forms_say_the_same_as_json() {
    let app = App::start().await;
    let form = app.form("POST", "/services", "name=s&host=a&port=81&tags[]=x&tags[]=y&path=").await;
    assert_eq!(form.status, 201, "{}", form.text);
    let service = form.json();
    assert_eq!(service["port"], 81);
    assert_eq!(service["tags"], json!(["x", "y"]));
    assert_eq!(service["path"], Value::Null);
    let route = app.form("POST", "/services/s/routes", "paths=/a&headers[x-v]=1").await.json();
    assert_eq!(route["paths"], json!(["/a"]));
    assert_eq!(route["headers"], json!({"x-v": ["1"]}));
    let body = "--b\r\nContent-Disposition: form-data; name=\"retries\"\r\n\r\n3\r\n--b--\r\n";
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    let patched = app.send_raw("PATCH", "/services/s", &headers, body).await;
    assert_eq!(patched.json()["retries"], 3, "{}", patched.text);
    let literal = app.send("POST", "/services", json!({"host": "a", "port": "80"})).await;
    assert_eq!(literal.json()["fields"], json!({"port": "expected an integer"}));
}

#[tokio::test]
async fn the_path_wins_over_the_body() {
    let app = App::start().await;
    app.populate().await;
    let service = |name: &'static str| {
        let app = &app;
        async move { app.get(&format!("/services/{name}")).await.json()["id"].clone() }
    };
    let (s, other) = (service("s").await, service("other").await);

    let body = json!({"name": "n", "paths": ["/n"], "service": {"id": s}});
    let posted = app.send("POST", "/services/other/routes", body).await.json();
    assert_eq!(posted["service"]["id"], other);
    // PUT under another parent moves.
    let moved = app.send("PUT", "/services/s/routes/n", json!({"paths": ["/n"]})).await.json();
    assert_eq!((&moved["service"]["id"], &moved["id"]), (&s, &posted["id"]));
    // A text like an id is an id, never a name.
    let put = app.send("PUT", &format!("/services/{ABSENT}"), json!({"host": "a"})).await.json();
    assert_eq!((put["id"].as_str(), &put["name"]), (Some(ABSENT), &Value::Null));
    let named = app.send("PUT", "/services/b", json!({"name": "c", "host": "a"})).await.json();
    assert_eq!(named["name"], "b");
}

#[tokio::test]
async fn a_foreign_entity_is_read_written_and_made() {
    let app = App::start().await;
    app.populate().await;
    app.create("/routes", json!({"name": "lone", "paths": ["/l"]})).await;
    assert_eq!(app.get("/routes/lone/service").await.status, 404);
    assert_eq!(app.send("DELETE", "/routes/lone/service", Value::Null).await.status, 404);

    let seq = app.get("/").await.json()["seq"].as_u64().unwrap();
    let made = app.send("PUT", "/routes/lone/service", json!({"host": "made"})).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(app.get("/").await.json()["seq"].as_u64().unwrap(), seq + 1, "one event");
    let route = app.get("/routes/lone").await.json();
    assert_eq!(route["service"]["id"], made.json()["id"]);

    let patched = app.send("PATCH", "/routes/lone/service", json!({"port": 81})).await.json();
    assert_eq!((&patched["port"], &patched["host"]), (&json!(81), &json!("made")));
    let put = app.send("PUT", "/routes/lone/service", json!({"host": "b"})).await.json();
    assert_eq!((&put["port"], &put["id"]), (&json!(80), &made.json()["id"]));
}

#[tokio::test]
async fn targets_live_under_their_upstream() {
    let app = App::start().await;
    app.create("/upstreams", json!({"name": "u"})).await;
    app.create("/upstreams", json!({"name": "v"})).await;
    let id = app.create("/upstreams/u/targets", json!({"target": "a:80"})).await;
    app.create("/upstreams/v/targets", json!({"target": "a:80"})).await;
    app.create("/upstreams/u/targets", json!({"target": "b"})).await;

    for path in ["/targets", "/targets/a:80"] {
        assert_eq!(app.get(path).await.status, 404, "{path}");
    }
    assert_eq!(app.get("/upstreams/u/targets/a:80").await.json()["id"], id);
    assert_eq!(app.get("/upstreams/u/targets/b").await.json()["target"], "b:8000");
    for method in ["PUT", "PATCH"] {
        let answer = app.send(method, "/upstreams/u/targets/a:80", json!({"weight": 5})).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["weight"]), (200, &json!(5)));
        let answer = app.send(method, "/upstreams/u/targets/c:80", json!({"weight": 5})).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({"message": "Not found"})));
    }
    let path = "/upstreams/v/targets/".to_owned() + &id;
    assert_eq!(app.get(&path).await.status, 404, "another upstream's");
    let all = app.get("/upstreams/u/targets/all").await.json();
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    assert_eq!(app.send("POST", "/upstreams/u/targets/all", json!({})).await.status, 405);
    assert_eq!(app.send("DELETE", "/upstreams/u/targets/b", Value::Null).await.status, 204);
    assert_eq!(app.send("DELETE", "/upstreams/u/targets/b", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_reference_keeps_the_id_alone() {
    let app = App::start().await;
    let id = app.create("/services", json!({"name": "s", "host": "a"})).await;
    let service = json!({"id": id, "name": "other", "extra": 42});
    let body = json!({"name": "r", "paths": ["/a"], "service": service});
    let made = app.send("POST", "/routes", body).await;
    assert_eq!(made.json()["service"], json!({"id": id}), "{}", made.text);
    let patched = app.send("PATCH", "/routes/r", json!({"service": service})).await;
    assert_eq!(patched.json()["service"], json!({"id": id}), "{}", patched.text);
}
