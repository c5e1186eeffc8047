//! Paths and methods: slashes, encodings, names that look like ids
//! (reference gateway-2, sections B.1 and B.2; admin-observed.md).

use serde_json::{Value, json};

use super::app::{ABSENT, App};

#[tokio::test]
async fn slashes_at_the_end_are_tolerated_and_no_others() {
    let app = App::start().await;
    app.populate().await;
    for (path, status) in [
        ("/services/", 200),
        ("/services/s/", 200),
        ("/services/s/routes/", 200),
        ("/services/s/routes/r/", 200),
        ("/routes/r/service/", 200),
        ("/status/", 200),
        ("/services?size=1", 200),
        ("/services/?size=1", 200),
        ("/services?", 200),
        ("//services", 404),
        ("/services//", 404),
        ("/services//routes", 404),
        ("/services//s", 404),
        ("/Services", 404),
        ("/serv%69ces", 404),
        ("/services/s/Routes", 404),
        ("/services/s/routes/r/service", 404),
        ("/services/../services", 404),
        ("/workspaces", 404),
        ("/default/services", 404),
        ("/consumer_groups", 404),
        ("/targets", 404),
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        if status == 404 {
            assert_eq!(answer.json(), json!({"message": "Not found"}), "{path}");
        }
    }
    app.expect(("POST", "/services/"), json!({"host": "a"}), 201, Value::Null).await;
    app.expect(("DELETE", "/services/s/routes/r/"), Value::Null, 204, Value::Null).await;
}

#[tokio::test]
async fn names_are_decoded_once() {
    let app = App::start().await;
    for username in
        ["a/b", "a b", "a+b", "a%2Fb", "é", "ünï-cødé", "日本", "a?b", "a#b", "a:b@c", "~.-_"]
    {
        app.create("/consumers", json!({"username": username})).await;
    }
    for (segment, username) in [
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%20b", "a b"),
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("a%252Fb", "a%2Fb"),
        ("%C3%A9", "é"),
        ("é", "é"),
        ("%c3%bcn%C3%AF-c%C3%B8d%C3%A9", "ünï-cødé"),
        ("%E6%97%A5%E6%9C%AC", "日本"),
        ("a%3Fb", "a?b"),
        ("a%23b", "a#b"),
        ("a:b@c", "a:b@c"),
        ("%7E.-_", "~.-_"),
    ] {
        let answer = app.get(&format!("/consumers/{segment}")).await;
        assert_eq!(answer.status, 200, "{segment}: {}", answer.text);
        assert_eq!(answer.json()["username"], username, "{segment}");
    }
    let made = app.send("PUT", "/consumers/x%20y%2Fz", json!({})).await.json();
    assert_eq!(made["username"], "x y/z");
    let next = app.get("/consumers/x%20y%2Fz/plugins?size=1").await;
    assert_eq!(next.status, 200);
    app.expect(("DELETE", "/consumers/x%20y%2Fz"), Value::Null, 204, Value::Null).await;
    assert_eq!(app.get("/consumers/x%20y%2Fz").await.status, 404);
}

#[tokio::test]
async fn what_looks_like_an_id_is_one() {
    let app = App::start().await;
    // A name may have the form of an id; it is never looked up by it.
    app.create("/consumers", json!({"username": ABSENT})).await;
    assert_eq!(app.get(&format!("/consumers/{ABSENT}")).await.status, 404);
    let bare = ABSENT.replace('-', "");
    app.create("/consumers", json!({"username": bare})).await;
    assert_eq!(app.get(&format!("/consumers/{bare}")).await.json()["username"], json!(bare));
    let braced = format!("%7B{ABSENT}%7D");
    assert_eq!(app.send("PUT", &format!("/consumers/{braced}"), json!({})).await.status, 200);
    let message = format!("could not find the entity with primary key '{{id=\"{ABSENT}\"}}'");
    let expected =
        json!({"code": 6, "name": "not found", "message": message, "fields": {"id": ABSENT}});
    app.expect(("PATCH", &format!("/consumers/{ABSENT}")), json!({}), 404, expected).await;
    // No version nibble is looked at.
    let odd = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let made = app.send("PUT", &format!("/consumers/{odd}"), json!({"username": "odd"})).await;
    assert_eq!(made.json()["id"], odd);
    assert_eq!(app.get("/consumers?size=1000").await.status, 200);
}

#[tokio::test]
async fn each_place_knows_its_methods() {
    let app = App::with_plugins().await;
    app.populate().await;
    for (path, known) in [
        ("/services", "GET HEAD OPTIONS POST"),
        ("/services/s", "DELETE GET HEAD OPTIONS PATCH PUT"),
        ("/services/s/routes", "GET HEAD OPTIONS POST"),
        ("/services/s/routes/r", "DELETE GET HEAD OPTIONS PATCH PUT"),
        ("/", "GET HEAD OPTIONS"),
        ("/status", "GET HEAD OPTIONS"),
        ("/endpoints", "GET HEAD OPTIONS"),
        ("/plugins/enabled", "GET HEAD OPTIONS"),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO", "get"] {
            let answer = app.send(method, path, Value::Null).await;
            let is_known = known.split(' ').any(|name| name == method);
            assert_eq!(answer.status != 405, is_known, "{method} {path}: {}", answer.text);
            if !is_known {
                assert_eq!(answer.json(), json!({"message": "Method not allowed"}));
                assert_eq!(answer.header("allow"), "", "Kong names none here");
            }
        }
    }
}
